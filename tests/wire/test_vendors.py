"""Answers of all vendors are parsed, complete and streamed, also with an invalid field."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vendors import SHAPES, Shape

from headrace import CallError, Headers, Reply
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.reply_bodies import CHAT, read_reply_body
from headrace.wire.sse import EventParser
from headrace.wire.stream_accumulator import DONE, StreamAccumulator

STREAMED = [shape for shape in SHAPES if shape.chunks]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def named(shape: Shape) -> str:
    return shape.vendor


def read_whole(content: bytes) -> Reply:
    reply = Reply(200, Headers([]), content)
    read_reply_body(reply, CHAT)
    return reply


def read_events(stream: bytes) -> tuple[str, str, Reply]:
    """Return the text and the reasoning of the chunks, and the complete reply."""
    parser, made = EventParser(), StreamAccumulator()
    pieces = []
    for name, data in [*parser.feed(stream), *parser.end()]:
        if data == DONE:
            break
        pieces += made.add(data, named_error=name == b"error")
    pieces += made.flush()
    reply = Reply(200, Headers([]), msgspec.json.encode(made.body()), made.usage, made.model)
    return "".join(each.text for each in pieces), "".join(each.reasoning for each in pieces), reply


def tools_of(reply: Reply) -> tuple[tuple[str, str], ...]:
    return tuple((call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls)


@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_a_complete_answer_is_parsed(shape: Shape) -> None:
    reply = read_whole(msgspec.json.encode(shape.body))
    assert (reply.text, reply.reasoning, tools_of(reply)) == (shape.text, shape.reasoning, shape.tools)
    assert (reply.usage, reply.model, reply.finish_reason) == (shape.usage, "m-1", shape.finish_reason)


@pytest.mark.parametrize("shape", STREAMED, ids=named)
def test_a_streamed_answer_is_parsed(shape: Shape) -> None:
    text, reasoning, reply = read_events(shape.events())
    assert (text, reasoning) == (reply.text, reply.reasoning) == (shape.text, shape.reasoning)
    assert tools_of(reply) == shape.tools
    assert reply.finish_reason == shape.finish_reason
    if shape.vendor != "openrouter":
        assert reply.usage == shape.usage
    read_again = read_whole(reply.content)
    assert read_again.usage == reply.usage, "the joined body has the same counts"


@pytest.mark.anyio
@pytest.mark.parametrize("shape", STREAMED, ids=named)
async def test_a_client_parses_it(shape: Shape) -> None:
    endpoint = FakeEndpoint(Answer(body=shape.body), Answer(body=shape.events()))
    async with endpoint.client() as client:
        whole = await client.chat("?")
        async with client.stream("?") as stream:
            pieces = [piece async for piece in stream]
    assert (whole.text, whole.reasoning, whole.usage) == (shape.text, shape.reasoning, shape.usage)
    assert "".join(piece.text for piece in pieces) == stream.reply.text == shape.text
    assert "".join(piece.reasoning for piece in pieces) == stream.reply.reasoning == shape.reasoning


Path = tuple[str | int, ...]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the paths of all values within a value."""
    inner = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, each in inner:
        yield (*at, name)
        yield from paths(each, (*at, name))


def replaced(value: Any, path: Path, by: Any) -> Any:
    made = copy.deepcopy(value)
    holder = made
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = by
    return made


MEANT = {"choices", "message", "delta", "content", "text", "index", "error", "finish_reason", "object"}
"""Fields with the answer, its index or its finish reason. Their values matter."""
IN_A_CONTENT = {"type", "thinking"}


def costs_itself(path: Path) -> bool:
    """Return whether a value at this path does not belong to the text."""
    last = [name for name in path if isinstance(name, str)][-1]
    return last not in MEANT | IN_A_CONTENT and not (set(path) & {"content"})


OPTIONAL = [
    (shape, path) for shape in SHAPES for path in paths(shape.body) if costs_itself(path) and shape.body
]
OF_A_CHUNK = [
    (shape, number, path)
    for shape in STREAMED
    for number, chunk in enumerate(shape.chunks)
    for path in paths(chunk)
    if costs_itself(path)
]


@settings(max_examples=400)
@given(st.sampled_from(OPTIONAL), JSON)
def test_an_odd_optional_field_loses_only_itself(place: tuple[Shape, Path], value: Any) -> None:
    shape, path = place
    reply = read_whole(msgspec.json.encode(replaced(shape.body, path, value)))
    assert reply.text == shape.text
    _ = reply.reasoning, reply.tool_calls, reply.message, reply.finish_reason, reply.usage
    if path[0] != "usage":
        assert reply.usage == shape.usage
    if path[0] != "model":
        assert reply.model == "m-1"


@settings(max_examples=400)
@given(st.sampled_from(OF_A_CHUNK), JSON)
def test_an_odd_optional_field_of_a_chunk_loses_only_itself(
    place: tuple[Shape, int, Path], value: Any
) -> None:
    shape, number, path = place
    chunks = list(shape.chunks)
    chunks[number] = replaced(chunks[number], path, value)
    odd = Shape(shape.vendor, None, shape.text, None, tuple(chunks))
    text, _, reply = read_events(odd.events())
    assert text == reply.text == shape.text
    _ = reply.reasoning, reply.tool_calls, reply.message, reply.usage


@settings(max_examples=400)
@given(st.data())
def test_any_odd_value_raises_only_call_errors(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(STREAMED))
    value = data.draw(JSON)
    whole = data.draw(st.sampled_from(list(paths(shape.body))))
    try:
        reply = read_whole(msgspec.json.encode(replaced(shape.body, whole, value)))
        _ = reply.text, reply.reasoning, reply.tool_calls, reply.finish_reason, reply.message
    except CallError:
        pass
    number = data.draw(st.integers(0, len(shape.chunks) - 1))
    chunks = list(shape.chunks)
    chunks[number] = replaced(chunks[number], data.draw(st.sampled_from(list(paths(chunks[number])))), value)
    try:
        _, _, reply = read_events(Shape(shape.vendor, None, "", None, tuple(chunks)).events())
        _ = reply.text, reply.reasoning, reply.tool_calls, reply.finish_reason, reply.message
    except CallError:
        pass
