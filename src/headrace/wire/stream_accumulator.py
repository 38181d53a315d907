"""What the chunks of a streamed chat completion say, and the whole answer that they make; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace._support.message_content import ThoughtSplitter
from headrace.errors import InvalidReply
from headrace.replies import Usage
from headrace.wire.error_bodies import ErrorBody, find_error, to_invalid_reply
from headrace.wire.sse import EventParser, looks_like_events
from headrace.wire.stream_chunks import MERGED, ChunkChoice, read_chunk
from headrace.wire.tool_call_accumulator import ToolCallAccumulator
from headrace.wire.usage import usage_to_json

DONE = b"[DONE]"


@attrs.define
class Chunk:
    """A part of a streamed answer.

    ``text``: what the answer goes on with; ``reasoning``: what the model's shown thoughts go on with;
    ``tool_calls``: parts of tool calls, as the endpoint sends them. ``index``: of which choice, 0 where there
    is one.
    """

    text: str = ""
    index: int = 0
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = attrs.field(factory=list)


_NO_TOOLS: list[dict[str, Any]] = []


class _Choice:
    """One of the answers, as far as it has come."""

    __slots__ = ("finish_reason", "logprobs", "others", "reasoning", "refusal", "splitter", "texts", "tools")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.splitter: ThoughtSplitter | None = ThoughtSplitter()
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tools: ToolCallAccumulator | None = None
        self.others: dict[str, Any] = {}
        self.logprobs: Any = None
        self.finish_reason: str | None = None

    def message(self) -> dict[str, Any]:
        """The message that the parts make."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.texts) or None}
        if self.tools is None and not self.refusal:
            message["content"] = "".join(self.texts)
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.refusal:
            message["refusal"] = "".join(self.refusal)
        if self.tools is not None:
            message["tool_calls"] = self.tools.calls()
        return message | self.others

    def described(self, index: int) -> dict[str, Any]:
        """The choice as it would have been without streaming."""
        made = {"index": index, "message": self.message(), "finish_reason": self.finish_reason}
        return made if self.logprobs is None else made | {"logprobs": self.logprobs}


class StreamAccumulator:
    """Takes chunks one after the other, and puts together what they say."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._id: Any = None
        self._created: Any = None
        self._stray_data = b""
        self.model: str | None = None
        self.usage: Usage | None = None
        self.service_tier: str | None = None

    @property
    def finished(self) -> bool:
        """Whether each choice that began has said why it ended."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    @property
    def started(self) -> bool:
        """Whether there is a choice."""
        return bool(self._choices)

    @property
    def text_length(self) -> int:
        """Characters of the answers so far, reasoning left out."""
        return sum(len(text) for choice in self._choices.values() for text in choice.texts)

    @property
    def stray_data(self) -> bytes:
        """The latest data that is not part of an answer; it may say why there is none."""
        return self._stray_data

    def add(self, data: bytes, *, named_error: bool = False) -> list[Chunk]:
        """The pieces of a chunk.

        Args:
            data: The chunk. What is not an object, as a ``null`` that keeps a connection alive, says nothing.
            named_error: The event that brought it is called "error".

        Raises:
            InvalidReply: It is an error, or damaged, so that a part of the answer is lost.
        """
        if named_error:
            raise _broken_off(_error_of(data), data)
        chunk = read_chunk(data)
        if chunk.error or chunk.object == "error":
            error = _error_of(data)
            if not error.is_empty:
                raise _broken_off(error, data)
        if self._id is None:
            self._id, self._created = chunk.id, chunk.created
        if self.model is None:
            self.model = chunk.model
        if chunk.service_tier is not None:
            self.service_tier = chunk.service_tier
        usage = chunk.usage or (None if chunk.x_groq is None else chunk.x_groq.usage)
        pieces: list[Chunk] = []
        for part in chunk.choices:
            usage = usage or part.usage
            choice = self._choices.get(part.index)
            if choice is None:
                choice = self._choices[part.index] = _Choice()
            self._add_part(choice, part, pieces)
            if part.error or part.finish_reason == "error":
                raise _broken_off(find_error({"error": part.error}) or ErrorBody(code="error"), data)
        if usage is not None:
            self.usage = usage.to_usage() or self.usage
        elif not chunk.choices and data.strip() != b"null":
            self._stray_data = data
        return pieces

    def _add_part(self, choice: _Choice, part: ChunkChoice, pieces: list[Chunk]) -> None:
        delta, text = part.delta, ""
        thought = delta.reasoning_content or delta.reasoning or ""
        if thought:
            choice.reasoning.append(thought)
        if delta.content:
            text = delta.content
            choice.texts.append(text)
            if choice.splitter is not None:
                text, in_block = choice.splitter.feed(text)
                thought += in_block
                if choice.splitter.in_text:
                    choice.splitter = None  # no need to look any more
        if part.finish_reason is not None:
            choice.finish_reason = part.finish_reason
            if choice.splitter is not None:
                rest, in_block = choice.splitter.end()
                text, thought = text + rest, thought + in_block
        if delta.refusal:
            choice.refusal.append(delta.refusal)
        if delta.tool_calls:
            if choice.tools is None:
                choice.tools = ToolCallAccumulator()
            for call in delta.tool_calls:
                choice.tools.add(call)
        if delta.function_call or delta.audio or delta.annotations or delta.images:
            parts = {name: getattr(delta, name) for name in MERGED}
            choice.others = _merged(choice.others, {name: part for name, part in parts.items() if part})
        if part.logprobs:
            choice.logprobs = _merged(choice.logprobs, part.logprobs)
        if text or thought or delta.tool_calls:
            pieces.append(Chunk(text, part.index, thought, delta.tool_calls or _NO_TOOLS))

    def flush(self) -> list[Chunk]:
        """The pieces that were held back, at the end of the stream."""
        pieces = []
        for index, choice in self._choices.items():
            text, thought = ("", "") if choice.splitter is None else choice.splitter.end()
            if text or thought:
                pieces.append(Chunk(text, index, thought))
        return pieces

    def body(self) -> dict[str, Any]:
        """The answer as it would have been without streaming, so far as it has come."""
        choices = [choice.described(index) for index, choice in sorted(self._choices.items())]
        body: dict[str, Any] = {"id": self._id, "object": "chat.completion", "created": self._created}
        body |= {"model": self.model, "choices": choices}
        if self.service_tier is not None:
            body["service_tier"] = self.service_tier
        if self.usage is not None:
            body["usage"] = usage_to_json(self.usage)
        return body


def accumulate_events(content: bytes) -> bytes | None:
    """The whole answer that a body of events makes, as JSON; None where it is not one of events.

    Raises:
        InvalidReply: The events are an error, or no answer.
    """
    if not looks_like_events(content):
        return None
    parser, made = EventParser(), StreamAccumulator()
    for name, data in [*parser.feed(content), *parser.end()]:
        if data.strip() == DONE:
            break
        made.add(data, named_error=name == b"error")
    if not made.started:
        raise empty_stream_error(made, content)
    return msgspec.json.encode(made.body())


def empty_stream_error(made: StreamAccumulator, content: bytes = b"") -> InvalidReply:
    """The error for a stream that ended without a choice, with what it said instead."""
    aside = made.stray_data or content
    error = _error_of(aside) if aside else ErrorBody()
    return to_invalid_reply(error, aside, "the stream ended without an answer")


def _broken_off(error: ErrorBody, data: bytes) -> InvalidReply:
    return to_invalid_reply(error, data, "the endpoint broke the stream off with an error")


def _error_of(data: bytes) -> ErrorBody:
    """What a chunk says that is known to be an error."""
    try:
        decoded = decode_json(data)
    except NOT_JSON:
        return ErrorBody(message=data.decode("utf-8", "replace").strip() or None)
    return find_error(decoded, failed=True) or ErrorBody()


def _merged(before: Any, more: Any) -> Any:
    """Two parts of a value: texts and lists one after the other, objects by their names, else the later."""
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, list) and isinstance(more, list):
        return before + more
    if isinstance(before, Mapping) and isinstance(more, Mapping):
        return {**before, **{name: _merged(before.get(name), value) for name, value in more.items()}}
    return before if more is None else more
