"""Parses one chunk of a streamed chat completion. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_leniently
from headrace._support.message_content import reasoning_of, split_parts
from headrace._support.text import shown
from headrace.errors import InvalidReply
from headrace.wire.usage import UsageFields, parse_usage

MERGED_FIELDS = ("function_call", "audio", "annotations", "images")
"""Fields of a delta of any content, which are joined with those of earlier deltas."""


class Delta(msgspec.Struct):
    """The addition of a chunk to a choice."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None
    images: list[Any] | None = None


class ChunkChoice(msgspec.Struct):
    """The part of one choice that a chunk contains."""

    delta: Delta = msgspec.field(default_factory=Delta)
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    usage: UsageFields | None = None  # Moonshot
    error: Any = None


class _Groq(msgspec.Struct):
    usage: UsageFields | None = None


class ChatChunk(msgspec.Struct):
    """The fields of a chunk that headrace reads."""

    choices: list[ChunkChoice] = []
    usage: UsageFields | None = None
    model: str | None = None
    id: Any = None
    created: Any = None
    error: Any = None
    object: str | None = None
    x_groq: _Groq | None = None
    service_tier: str | None = None


_decode = msgspec.json.Decoder(ChatChunk).decode


def parse_chunk(data: bytes) -> ChatChunk:
    """Parse a chunk; other data, such as a ``null`` that keeps a connection alive, gives an empty chunk.

    Raises:
        InvalidReply: The chunk is damaged, so that a part of the answer is lost.
    """
    try:
        return _decode(data)
    except NOT_JSON:
        return _parse_leniently(data)


def _parse_leniently(data: bytes) -> ChatChunk:
    """Parse a chunk field by field, and ignore fields of the wrong type."""
    try:
        value = decode_leniently(data)
    except NOT_JSON as error:
        if data.lstrip()[:1] != b"{":
            return ChatChunk()  # a word that keeps the connection alive
        raise InvalidReply(f"{shown(data)} (the stream holds a damaged chunk)") from error
    if isinstance(value, list):  # Gemini: an error in a list
        value = next((each for each in value if isinstance(each, Mapping) and each.get("error")), None)
    if not isinstance(value, Mapping):
        return ChatChunk()
    choices, object_type, groq = value.get("choices"), value.get("object"), value.get("x_groq")
    model, groq_usage = value.get("model"), groq.get("usage") if isinstance(groq, Mapping) else None
    return ChatChunk(
        [_parse_choice(each) for each in choices if isinstance(each, Mapping)]
        if isinstance(choices, list)
        else [],
        parse_usage(value.get("usage")) or parse_usage(groq_usage),
        model if isinstance(model, str) else None,
        value.get("id"),
        value.get("created"),
        value.get("error"),
        object_type if isinstance(object_type, str) else None,
        service_tier=_text(value.get("service_tier")),
    )


def _parse_choice(value: Mapping[str, Any]) -> ChunkChoice:
    index, reason, logprobs = value.get("index"), value.get("finish_reason"), value.get("logprobs")
    delta = value.get("delta") or value.get("message")  # some endpoints send a whole message
    return ChunkChoice(
        _parse_delta(delta) if isinstance(delta, Mapping) else Delta(_text(value.get("text"))),
        index if isinstance(index, int) else 0,
        _text(reason),
        logprobs if isinstance(logprobs, dict) else None,
        parse_usage(value.get("usage")),
        value.get("error"),
    )


def _parse_delta(value: Mapping[str, Any]) -> Delta:
    text, reasoning = split_parts(value.get("content"))
    calls = value.get("tool_calls")
    if isinstance(calls, Mapping):
        calls = [calls]
    parts = [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else None
    delta = Delta(
        text,
        _text(value.get("refusal")),
        reasoning_of(value) + reasoning,
        None,
        parts,
    )
    for name in MERGED_FIELDS:
        if isinstance(value.get(name), (dict, list)):
            setattr(delta, name, value[name])
    return delta


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
