"""What the chunks of a streamed chat completion say, and the whole answer that they make; no I/O."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from headrace.envelope import UsageFields
from headrace.errors import InvalidReply
from headrace.reply import NOT_JSON, Usage, shown


@attrs.define
class Piece:
    """A part of a streamed answer.

    ``text``: what the answer goes on with; ``reasoning``: what the model's shown thoughts go on with;
    ``tool_calls``: parts of tool calls, as the endpoint sends them. ``index``: of which choice, 0 where there
    is one.
    """

    text: str = ""
    index: int = 0
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = attrs.field(factory=list)


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    index: int = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] = []
    usage: UsageFields | None = None
    model: str | None = None
    id: str | None = None
    created: int | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Chunk).decode
_NO_TOOLS: list[dict[str, Any]] = []


class _Choice:
    """One of the answers, as far as it has come."""

    __slots__ = ("finish_reason", "reasoning", "refusal", "texts", "tool_calls")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tool_calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None

    def message(self) -> dict[str, Any]:
        """The message that the parts make."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.texts) or None}
        if not self.tool_calls and not self.refusal:
            message["content"] = "".join(self.texts)
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.refusal:
            message["refusal"] = "".join(self.refusal)
        if self.tool_calls:
            message["tool_calls"] = [self.tool_calls[number] for number in sorted(self.tool_calls)]
        return message


class Assembly:
    """Takes chunks one after the other, and puts together what they say."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._id: str | None = None
        self._created: int | None = None
        self.model: str | None = None
        self.usage: Usage | None = None

    @property
    def finished(self) -> bool:
        """Whether each choice that began has said why it ended."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def add(self, data: bytes) -> list[Piece]:
        """The pieces of a chunk; raises `InvalidReply` for one that is an error object, or no chunk."""
        try:
            chunk = _decode(data)
        except NOT_JSON as error:
            raise InvalidReply(f"the stream holds what is no chunk of an answer: {shown(data)}") from error
        if bytes(chunk.error) != b"null":
            raise InvalidReply(f"the endpoint broke the stream off with an error: {shown(data)}")
        if self._id is None:
            self._id, self._created, self.model = chunk.id, chunk.created, chunk.model
        if chunk.usage is not None:
            self.usage = chunk.usage.public()
        pieces = []
        for part in chunk.choices:
            choice = self._choices.get(part.index)
            if choice is None:
                choice = self._choices[part.index] = _Choice()
            delta = part.delta
            if delta.content:
                choice.texts.append(delta.content)
            if part.finish_reason is not None:
                choice.finish_reason = part.finish_reason
            if delta.refusal:
                choice.refusal.append(delta.refusal)
            thought = delta.reasoning_content or delta.reasoning or ""
            if thought:
                choice.reasoning.append(thought)
            for call in delta.tool_calls or ():
                _join_tool_call(choice.tool_calls, call)
            if delta.content or thought or delta.tool_calls:
                pieces.append(Piece(delta.content or "", part.index, thought, delta.tool_calls or _NO_TOOLS))
        return pieces

    def body(self) -> dict[str, Any]:
        """The answer as it would have been without streaming, so far as it has come."""
        choices = [
            {"index": index, "message": choice.message(), "finish_reason": choice.finish_reason}
            for index, choice in sorted(self._choices.items())
        ]
        body: dict[str, Any] = {"id": self._id, "object": "chat.completion", "created": self._created}
        body |= {"model": self.model, "choices": choices}
        if self.usage is not None:
            used = self.usage
            body["usage"] = {
                "prompt_tokens": used.prompt_tokens,
                "completion_tokens": used.completion_tokens,
                "total_tokens": used.total_tokens,
                "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
            }
        return body


def _join_tool_call(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a part of a tool call: its arguments come in pieces, the rest with the first."""
    number = part.get("index")
    if not isinstance(number, int):
        number = len(calls)
    function = part.get("function")
    said: dict[str, Any] = function if isinstance(function, dict) else {}
    call = calls.get(number)
    if call is None:
        call = calls[number] = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
    call["id"] = part.get("id") or call["id"]
    call["type"] = part.get("type") or call["type"]
    call["function"]["name"] += said.get("name") or ""
    call["function"]["arguments"] += said.get("arguments") or ""
