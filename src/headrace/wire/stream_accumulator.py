"""Joins the chunks of a streamed chat completion into the complete answer. No I/O."""

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
from headrace.wire.stream_chunks import MERGED_FIELDS, ChunkChoice, parse_chunk
from headrace.wire.tool_call_accumulator import ToolCallAccumulator
from headrace.wire.usage import usage_to_json

DONE = b"[DONE]"


@attrs.define
class Chunk:
    """A part of a streamed answer.

    Attributes:
        text: The next part of the answer's text.
        index: The index of the choice, 0 if there is only one.
        reasoning: The next part of the reasoning, if the endpoint shows it.
        tool_calls: Parts of tool calls, as the endpoint sends them.
    """

    text: str = ""
    index: int = 0
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = attrs.field(factory=list)


_NO_TOOL_CALLS: list[dict[str, Any]] = []


class _PartialChoice:
    """The received part of one choice."""

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
        """Return the message that the parts make."""
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

    def to_choice(self, index: int) -> dict[str, Any]:
        """Return the choice in the form that it has without streaming."""
        made = {"index": index, "message": self.message(), "finish_reason": self.finish_reason}
        return made if self.logprobs is None else made | {"logprobs": self.logprobs}


class StreamAccumulator:
    """Joins chunks, added in order, into a chat completion."""

    def __init__(self) -> None:
        self._choices: dict[int, _PartialChoice] = {}
        self._id: Any = None
        self._created: Any = None
        self._stray_data = b""
        self.model: str | None = None
        self.usage: Usage | None = None
        self.service_tier: str | None = None

    @property
    def finished(self) -> bool:
        """Whether each choice that has started has a finish reason."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    @property
    def started(self) -> bool:
        """Whether a choice has started."""
        return bool(self._choices)

    @property
    def text_length(self) -> int:
        """Characters of all choices so far, without the reasoning."""
        return sum(len(text) for choice in self._choices.values() for text in choice.texts)

    @property
    def stray_data(self) -> bytes:
        """The latest data that is not part of an answer; it may explain a missing answer."""
        return self._stray_data

    def add(self, data: bytes, *, named_error: bool = False) -> list[Chunk]:
        """Add a chunk of the endpoint, and return the parts that it adds to the answer.

        Args:
            data: The chunk. Data that is not an object, such as a ``null`` that keeps a connection alive, is
                ignored.
            named_error: The name of the chunk's event is "error".

        Raises:
            InvalidReply: The chunk is an error, or damaged, so that a part of the answer is lost.
        """
        if named_error:
            raise _stream_failed(_parse_error_chunk(data), data)
        chunk = parse_chunk(data)
        if chunk.error or chunk.object == "error":
            error = _parse_error_chunk(data)
            if not error.is_empty:
                raise _stream_failed(error, data)
        if self._id is None:
            self._id, self._created = chunk.id, chunk.created
        if self.model is None:
            self.model = chunk.model
        if chunk.service_tier is not None:
            self.service_tier = chunk.service_tier
        usage = chunk.usage or (None if chunk.x_groq is None else chunk.x_groq.usage)
        chunks: list[Chunk] = []
        for part in chunk.choices:
            usage = usage or part.usage
            choice = self._choices.get(part.index)
            if choice is None:
                choice = self._choices[part.index] = _PartialChoice()
            self._add_part(choice, part, chunks)
            if part.error or part.finish_reason == "error":
                raise _stream_failed(find_error({"error": part.error}) or ErrorBody(code="error"), data)
        if usage is not None:
            self.usage = usage.to_usage() or self.usage
        elif not chunk.choices and data.strip() != b"null":
            self._stray_data = data
        return chunks

    def _add_part(self, choice: _PartialChoice, part: ChunkChoice, chunks: list[Chunk]) -> None:
        """Add a part to its choice, and append the new part of the answer to ``chunks``."""
        delta, text = part.delta, ""
        reasoning = delta.reasoning_content or delta.reasoning or ""
        if reasoning:
            choice.reasoning.append(reasoning)
        if delta.content:
            text = delta.content
            choice.texts.append(text)
            if choice.splitter is not None:
                text, in_block = choice.splitter.feed(text)
                reasoning += in_block
                if choice.splitter.in_text:
                    choice.splitter = None  # a block of reasoning is only at the beginning
        if part.finish_reason is not None:
            choice.finish_reason = part.finish_reason
            if choice.splitter is not None:
                rest, in_block = choice.splitter.end()
                text, reasoning = text + rest, reasoning + in_block
        if delta.refusal:
            choice.refusal.append(delta.refusal)
        if delta.tool_calls:
            if choice.tools is None:
                choice.tools = ToolCallAccumulator()
            for call in delta.tool_calls:
                choice.tools.add(call)
        if delta.function_call or delta.audio or delta.annotations or delta.images:
            parts = {name: getattr(delta, name) for name in MERGED_FIELDS}
            choice.others = _merge(choice.others, {name: part for name, part in parts.items() if part})
        if part.logprobs:
            choice.logprobs = _merge(choice.logprobs, part.logprobs)
        if text or reasoning or delta.tool_calls:
            chunks.append(Chunk(text, part.index, reasoning, delta.tool_calls or _NO_TOOL_CALLS))

    def flush(self) -> list[Chunk]:
        """Return the text that was held back until the end of the stream."""
        chunks = []
        for index, choice in self._choices.items():
            text, reasoning = ("", "") if choice.splitter is None else choice.splitter.end()
            if text or reasoning:
                chunks.append(Chunk(text, index, reasoning))
        return chunks

    def body(self) -> dict[str, Any]:
        """Return the answer so far, in the form that it has without streaming."""
        choices = [choice.to_choice(index) for index, choice in sorted(self._choices.items())]
        body: dict[str, Any] = {"id": self._id, "object": "chat.completion", "created": self._created}
        body |= {"model": self.model, "choices": choices}
        if self.service_tier is not None:
            body["service_tier"] = self.service_tier
        if self.usage is not None:
            body["usage"] = usage_to_json(self.usage)
        return body


def accumulate_events(content: bytes) -> bytes | None:
    """Join a body of server-sent events into the complete answer, as JSON.

    Args:
        content: The body.

    Returns:
        The answer; None if the body does not consist of events.

    Raises:
        InvalidReply: The events are an error, or contain no answer.
    """
    if not looks_like_events(content):
        return None
    parser, accumulator = EventParser(), StreamAccumulator()
    for name, data in [*parser.feed(content), *parser.end()]:
        if data.strip() == DONE:
            break
        accumulator.add(data, named_error=name == b"error")
    if not accumulator.started:
        raise empty_stream_error(accumulator, content)
    return msgspec.json.encode(accumulator.body())


def empty_stream_error(accumulator: StreamAccumulator, content: bytes = b"") -> InvalidReply:
    """Return the error for a stream that ended without a choice, with the data received instead."""
    data = accumulator.stray_data or content
    error = _parse_error_chunk(data) if data else ErrorBody()
    return to_invalid_reply(error, data, "the stream ended without an answer")


def _stream_failed(error: ErrorBody, data: bytes) -> InvalidReply:
    return to_invalid_reply(error, data, "the endpoint ended the stream with an error")


def _parse_error_chunk(data: bytes) -> ErrorBody:
    """Parse a chunk that is known to be an error."""
    try:
        decoded = decode_json(data)
    except NOT_JSON:
        return ErrorBody(message=data.decode("utf-8", "replace").strip() or None)
    return find_error(decoded, failed=True) or ErrorBody()


def _merge(before: Any, more: Any) -> Any:
    """Join two parts of a value: append strings and lists, merge objects, else take the later part."""
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, list) and isinstance(more, list):
        return before + more
    if isinstance(before, Mapping) and isinstance(more, Mapping):
        return {**before, **{name: _merge(before.get(name), value) for name, value in more.items()}}
    return before if more is None else more
