"""One chunk of a streamed chat completion, as endpoints write it; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_leniently
from headrace._support.message_content import reasoning_of, split_parts
from headrace._support.text import shown
from headrace.errors import InvalidReply
from headrace.wire.usage import UsageFields, parse_usage

MERGED = ("function_call", "audio", "annotations", "images")
"""Parts of a delta that are put together as they are, each like the values before it."""


class Delta(msgspec.Struct):
    """What a choice goes on with."""

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
    """A part of one of the answers."""

    delta: Delta = msgspec.field(default_factory=Delta)
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    usage: UsageFields | None = None  # Moonshot's place for it
    error: Any = None


class _Groq(msgspec.Struct):
    usage: UsageFields | None = None


class Chunk(msgspec.Struct):
    """What headrace reads of a chunk."""

    choices: list[ChunkChoice] = []
    usage: UsageFields | None = None
    model: str | None = None
    id: Any = None
    created: Any = None
    error: Any = None
    object: str | None = None
    x_groq: _Groq | None = None
    service_tier: str | None = None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """A chunk; empty for data that is not one, as a ``null`` that keeps a connection alive.

    Raises:
        InvalidReply: It is damaged, so that a part of the answer is lost.
    """
    try:
        return _decode(data)
    except NOT_JSON:
        return _chunk_of(data)


def _chunk_of(data: bytes) -> Chunk:
    """A chunk, read field by field."""
    try:
        value = decode_leniently(data)
    except NOT_JSON as error:
        if data.lstrip()[:1] != b"{":
            return Chunk()  # a word that keeps the connection alive
        raise InvalidReply(f"{shown(data)} (the stream holds a damaged chunk)") from error
    if isinstance(value, list):  # Gemini: an error in a list
        value = next((each for each in value if isinstance(each, Mapping) and each.get("error")), None)
    if not isinstance(value, Mapping):
        return Chunk()
    choices, kind, groq = value.get("choices"), value.get("object"), value.get("x_groq")
    model, aside = value.get("model"), groq.get("usage") if isinstance(groq, Mapping) else None
    return Chunk(
        [_choice_of(each) for each in choices if isinstance(each, Mapping)]
        if isinstance(choices, list)
        else [],
        parse_usage(value.get("usage")) or parse_usage(aside),
        model if isinstance(model, str) else None,
        value.get("id"),
        value.get("created"),
        value.get("error"),
        kind if isinstance(kind, str) else None,
        service_tier=_text(value.get("service_tier")),
    )


def _choice_of(value: Mapping[str, Any]) -> ChunkChoice:
    index, reason, logprobs = value.get("index"), value.get("finish_reason"), value.get("logprobs")
    delta = value.get("delta") or value.get("message")  # a whole answer in a stream
    return ChunkChoice(
        _delta_of(delta) if isinstance(delta, Mapping) else Delta(_text(value.get("text"))),
        index if isinstance(index, int) else 0,
        _text(reason),
        logprobs if isinstance(logprobs, dict) else None,
        parse_usage(value.get("usage")),
        value.get("error"),
    )


def _delta_of(value: Mapping[str, Any]) -> Delta:
    text, thoughts = split_parts(value.get("content"))
    calls = value.get("tool_calls")
    if isinstance(calls, Mapping):
        calls = [calls]
    parts = [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else None
    made = Delta(
        text,
        _text(value.get("refusal")),
        reasoning_of(value) + thoughts,
        None,
        parts,
    )
    for name in MERGED:
        if isinstance(value.get(name), (dict, list)):
            setattr(made, name, value[name])
    return made


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
