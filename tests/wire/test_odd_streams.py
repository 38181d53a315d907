"""Unusual chunks and events: no text is lost, and an error is never a success."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.test_vendors import read_events

from headrace import (
    Call,
    CallError,
    Chunk,
    Client,
    Headers,
    IncompleteReply,
    InvalidReply,
    Reply,
    Usage,
)
from headrace._support.message_content import ThoughtSplitter, split_thoughts
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport
from headrace_retry import Retry

DONE = "data: [DONE]\n\n"


def data(value: Any) -> str:
    return f"data: {msgspec.json.encode(value).decode()}\n\n"


def chunk(delta: Any, finish: str | None = None, **more: Any) -> str:
    return data({"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


async def streamed(*parts: str, **headers: str) -> tuple[list[Chunk], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    endpoint = FakeEndpoint(Answer(body="".join(parts).encode(), headers=named))
    async with endpoint.client() as client, client.stream("?") as stream:
        return [piece async for piece in stream], stream.reply


async def begin(client: Client) -> None:
    async with client.stream("?") as stream:
        async for _ in stream:
            pass


HELLO = chunk({"content": "Hel"}) + chunk({"content": "lo"}, "stop")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "odd",
    [
        '{"choices":null}',
        "null",
        "true",
        "ping",
        '"keep-alive"',
        "[]",
        "{}",
        '{"choices":[null]}',
        '{"choices":[{"index":0,"delta":null}]}',
        '{"choices":[{"index":0}]}',
        '{"choices":[{"delta":{"content":null,"role":5}}],"created":1753.25}',
        '{"choices":[],"created":"1753","id":7}',
        '{"choices":[{"delta":{"tool_calls":null,"content":""}}],"model":null}',
        '{"choices":[{"delta":{"content":5}}]}',
        '{"choices":[{"delta":{"content":""},"logprobs":{"content":[{"token":"a","logprob":-Infinity}]}}]}',
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_an_odd_chunk_loses_no_text(odd: str, at: int) -> None:
    parts = [chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")]
    parts.insert(at, f"data: {odd}\n\n")
    pieces, reply = await streamed(*parts, DONE)
    assert "".join(piece.text for piece in pieces) == reply.text == "Hello"
    assert reply.model == "m-1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2.5, "total_tokens": 12}, Usage(10, 2, 12)),
        ({"prompt_tokens": 10.0, "completion_tokens": 5.0}, Usage(10, 5, 15)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": []}, Usage(10, 5, 15)),
        ({"prompt_tokens": 10, "completion_tokens": -5}, Usage(10)),
        ({"prompt_tokens": 10**25, "completion_tokens": 5}, Usage(None, 5)),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}, None),
        ([], None),
        ("many", None),
    ],
)
async def test_odd_token_counts_are_ignored(usage: Any, expected: Usage | None) -> None:
    _, reply = await streamed(HELLO, data({"choices": [], "usage": usage}), DONE)
    assert (reply.text, reply.usage, reply.model) == ("Hello", expected, "m-1")
    body = {"model": "m-1", "choices": [{"message": {"content": "Hello"}}], "usage": usage}
    async with FakeEndpoint(Answer(body=body)).client() as client:
        whole = await client.chat("?")
    assert (whole.text, whole.usage, whole.model) == ("Hello", expected, "m-1")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (data({"error": {"message": "overloaded"}}), "overloaded"),
        (data({"object": "error", "message": "overloaded"}), "overloaded"),
        ('error: {"message": "overloaded"}\n\n', "overloaded"),
        ("error: overloaded\n\n", "overloaded"),
        ('event: error\ndata: {"message": "overloaded"}\n\n', "overloaded"),
        ('event: error\ndata: "overloaded"\n\n', "overloaded"),
        ("event: error\ndata: overloaded\n\n", "overloaded"),
        ('{"error": {"message": "overloaded"}}\n\n', "overloaded"),
        ('{\n  "error": {"message": "overloaded"}\n}', "overloaded"),
        ('[{"error": {"message": "overloaded"}}]', "overloaded"),
        (data([{"error": {"message": "overloaded"}}]), "overloaded"),
        (data({"choices": [{"index": 0, "error": {"message": "overloaded"}}]}), "overloaded"),
        (chunk({"content": ""}, "error"), "finish_reason"),
        ("upstream overloaded", "overloaded"),
        ('data: {"choices":[{"delta":{"content":"lo', "before the answer was complete"),
    ],
)
async def test_a_failed_stream_says_why_and_keeps_the_partial_answer(broken: str, message: str) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body=(chunk({"content": "Hel"}) + broken).encode()))
    async with endpoint.client([Retry(attempts=2, base=0.001)]) as client:
        with pytest.raises(CallError, match=message) as caught:
            await begin(client)
    assert isinstance(caught.value, (InvalidReply, IncompleteReply))
    assert caught.value.retryable
    in_one_packet = broken.endswith("\n\n")
    assert caught.value.attempts == 1 + in_one_packet, "before the first chunk, another attempt loses nothing"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


@pytest.mark.anyio
async def test_chunks_that_came_with_an_error_are_returned_before_it() -> None:
    class Body:
        def __init__(self) -> None:
            self.parts = [
                chunk({"content": "a"}),
                chunk({"content": "b"}) + data({"error": {"message": "lost"}}),
            ]

        async def receive(self, until: float) -> bytes:
            return self.parts.pop(0).encode()

        async def aclose(self) -> None:
            pass

    async def handle(call: Call) -> Reply:
        return Reply(200, Headers([]), b"", stream=Body())

    client = Client(base_url="http://fake.test/v1", model="m", policies=[], transport=MemoryTransport(handle))
    async with client, client.stream("?") as stream:
        pieces = [(await anext(stream)).text, (await anext(stream)).text]
        with pytest.raises(InvalidReply, match="lost") as caught:
            await anext(stream)
    assert pieces == ["a", "b"]
    assert caught.value.partial is not None
    assert caught.value.partial.text == "ab"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body", ["upstream overloaded", '{"error": {"message": "overloaded"}}', "event: error\ndata: overloaded"]
)
async def test_a_stream_without_a_chunk_says_why(body: str) -> None:
    async with FakeEndpoint(Answer(body=body.encode())).client() as client:
        with pytest.raises(InvalidReply, match="overloaded"):
            await begin(client)


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["data: [DONE]", "data: [DONE]\n", "data: [DONE] \n\n", ""])
@pytest.mark.parametrize(
    "kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/json", "text/plain", ""]
)
async def test_events_are_parsed_with_any_content_type(kind: str, end: str) -> None:
    pieces, reply = await streamed(HELLO, end, content_type=kind)
    assert [piece.text for piece in pieces] == ["Hel", "lo"]
    assert reply.finish_reason == "stop"


@pytest.mark.anyio
async def test_the_last_event_needs_no_blank_line() -> None:
    _, reply = await streamed(chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop").rstrip())
    assert (reply.text, reply.finish_reason) == ("Hello", "stop")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_a_complete_answer_instead_of_a_stream_is_one_chunk(kind: str) -> None:
    body = {"choices": [{"message": {"content": "<think>Well</think>Hi"}}], "usage": {"total_tokens": 5}}
    _, reply = await streamed(msgspec.json.encode(body).decode(), content_type=kind)
    assert (reply.text, reply.reasoning) == ("Hi", "Well")


@pytest.mark.anyio
async def test_events_instead_of_a_complete_answer_are_joined() -> None:
    async with FakeEndpoint(Answer(body=(HELLO + DONE).encode())).client() as client:
        reply = await client.chat("?")
    assert (reply.text, reply.finish_reason) == ("Hello", "stop")


def call(index: int | str | None, id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    part = {
        "index": index,
        "id": id,
        "function": {key: each for key, each in function.items() if each is not None},
    }
    return {key: each for key, each in part.items() if each is not None}


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        (  # parallel calls, all with index 0
            [call(0, "a", "f", '{"x":1}'), call(0, "b", "g", "{}")],
            [("a", "f", '{"x":1}'), ("b", "g", "{}")],
        ),
        (  # the same, in parts
            [
                call(0, "a", "f", ""),
                call(0, None, None, '{"x":1}'),
                call(0, "b", "f", ""),
                call(0, None, None, "{}"),
            ],
            [("a", "f", '{"x":1}'), ("b", "f", "{}")],
        ),
        (  # name and id in each part
            [call(0, "a", "f", '{"x"'), call(0, "a", "f", ":1"), call(0, "a", "f", "}")],
            [("a", "f", '{"x":1}')],
        ),
        ([call(0, "a", "f", '{"x"'), call(0, None, "f", ":1}")], [("a", "f", '{"x":1}')]),
        ([call(0, "a", "f", {"x": 1})], [("a", "f", '{"x":1}')]),  # arguments as an object
        (
            [call(None, None, "f", "{}"), call(None, None, "g", "{}")],
            [("call_0", "f", "{}"), ("call_1", "g", "{}")],
        ),
        (
            [call(0, None, "f", "{}"), call(0, None, "f", '{"x":1}')],
            [("call_0", "f", "{}"), ("call_1", "f", '{"x":1}')],
        ),
        ([call(None, "a", "f", '{"x"'), call(None, None, None, ":1}")], [("a", "f", '{"x":1}')]),
        ([call("0", "a", "f", '{"x"'), call(0, None, None, ":1}")], [("a", "f", '{"x":1}')]),
        ([call(1, "b", "g", "{}"), call(0, "a", "f", "{}")], [("b", "g", "{}"), ("a", "f", "{}")]),
        ([call(0, "a", "get_", ""), call(0, None, "weather", "{}")], [("a", "get_weather", "{}")]),
        ([call(0, "a", "f", None)], [("a", "f", "")]),
    ],
)
def test_tool_calls_of_all_vendors_are_joined(
    parts: list[dict[str, Any]], calls: list[tuple[str, str, str]]
) -> None:
    stream = "".join(chunk({"tool_calls": [part]}) for part in parts) + chunk({}, "tool_calls") + DONE
    _, _, reply = read_events(stream.encode())
    made = [
        (each["id"], each["function"]["name"], each["function"]["arguments"]) for each in reply.tool_calls
    ]
    assert made == calls
    assert reply.text == ""


@pytest.mark.parametrize(
    "calls", ["rubbish", [None], [5], ["f"], [{}], [{"function": None}], {"function": []}, [[]]]
)
def test_invalid_tool_calls_raise_only_headrace_errors(calls: Any) -> None:
    text, _, reply = read_events((chunk({"content": "Hi", "tool_calls": calls}) + chunk({}, "stop")).encode())
    assert text == "Hi"
    assert isinstance(reply.tool_calls, list)


def test_fields_beside_the_text_are_joined() -> None:
    _, _, reply = read_events(
        "".join(
            [
                chunk({"audio": {"id": "au", "transcript": "Hel", "data": "QU"}}),
                chunk({"audio": {"transcript": "lo", "data": "JD"}}),
                chunk(
                    {
                        "annotations": [{"type": "url_citation"}],
                        "function_call": {"name": "f", "arguments": "{"},
                    }
                ),
                chunk({"annotations": [{"type": "file"}], "function_call": {"arguments": "}"}}, "stop"),
            ]
        ).encode()
    )
    assert reply.message["audio"] == {"id": "au", "transcript": "Hello", "data": "QUJD"}
    assert reply.message["annotations"] == [{"type": "url_citation"}, {"type": "file"}]
    assert reply.message["function_call"] == {"name": "f", "arguments": "{}"}


THOUGHTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<thought>", "</thought>", "<", "th", "a", " ", "\n"])
)


@given(THOUGHTS.map("".join), st.data())
def test_reasoning_is_separated_from_the_text_at_any_split(whole: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    splitter = ThoughtSplitter()
    parts = [splitter.feed(piece) for piece in pieces] + [splitter.end()]
    text, thoughts = "".join(part[0] for part in parts), "".join(part[1] for part in parts)
    assert (thoughts, text) == split_thoughts(whole)
    if not whole.lstrip().startswith(("<think>", "<thought>")):
        assert (thoughts, text) == ("", whole)


@pytest.mark.parametrize(
    ("whole", "thoughts", "text"),
    [
        ("<think>Well</think>\n\nHi", "Well", "Hi"),
        ("\n<think>\nWell\n</think>Hi</think>", "\nWell\n", "Hi</think>"),
        ("<think>Well", "Well", ""),
        ("<think></think>Hi", "", "Hi"),
        ("Write <think> first", "", "Write <think> first"),
        ("<thinner>", "", "<thinner>"),
        ("<thi", "", "<thi"),
    ],
)
def test_a_think_block_at_the_beginning_is_reasoning(whole: str, thoughts: str, text: str) -> None:
    assert split_thoughts(whole) == (thoughts, text)
