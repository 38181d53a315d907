"""Chunks of a streamed answer, and the complete answer that they make."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import Chunk, InvalidReply, Usage
from headrace.wire.stream_accumulator import StreamAccumulator


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    return msgspec.json.encode(
        {
            "id": "c-1",
            "created": 7,
            "model": "m-1",
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }
        | more
    )


def test_texts_of_several_choices_are_kept_apart() -> None:
    made = StreamAccumulator()
    pieces = [
        *made.add(chunk({"role": "assistant", "content": ""})),
        *made.add(chunk({"content": "Hal"})),
        *made.add(chunk({"content": "Gut"}, 1)),
        *made.add(chunk({"content": "lo"})),
        *made.add(chunk({}, finish="stop")),
    ]
    assert pieces == [Chunk("Hal"), Chunk("Gut", 1), Chunk("lo")]
    assert not made.finished, "the second choice has no finish reason"
    made.add(chunk({}, 1, finish="length"))
    assert made.finished
    made.add(msgspec.json.encode({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}))
    assert made.usage == Usage(3, 4, 7)
    assert made.body() == {
        "id": "c-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hallo"}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "Gut"}, "finish_reason": "length"},
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
        },
    }


def test_parts_of_tool_calls_are_joined() -> None:
    made = StreamAccumulator()
    parts = [
        {"index": 0, "id": "t-0", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 1, "id": "t-1", "function": {"name": "time", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": '"Bonn"}'}},
    ]
    for part in parts:
        (piece,) = made.add(chunk({"tool_calls": [part]}))
        assert piece.tool_calls == [part]
        assert piece.text == ""
    made.add(chunk({}, finish="tool_calls"))
    assert made.body()["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "t-0",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
            },
            {"id": "t-1", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }


def test_complete_tool_calls_without_an_index_are_kept_apart() -> None:
    made = StreamAccumulator()
    made.add(chunk({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}))
    made.add(chunk({"tool_calls": [{"id": "b", "function": None}]}))
    assert [call["id"] for call in made.body()["choices"][0]["message"]["tool_calls"]] == ["a", "b"]


def test_reasoning_and_refusals_are_not_text() -> None:
    made = StreamAccumulator()
    assert made.add(chunk({"reasoning_content": "Well"})) == [Chunk(reasoning="Well")]
    assert made.add(chunk({"reasoning": " then"})) == [Chunk(reasoning=" then")]
    assert made.add(chunk({"refusal": "No."})) == []
    assert made.body()["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Well then",
        "refusal": "No.",
    }


def test_additional_fields_are_ignored() -> None:
    made = StreamAccumulator()
    assert made.add(b'{"choices":[],"prompt_filter_results":[{}]}') == []
    assert made.add(chunk({"content": "a", "audio": None}, obfuscation="x")) == [Chunk("a")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b'{"error":{"message":"overloaded"}}',
            "overloaded .the endpoint ended the stream with an error",
        ),
        (b'[{"error":{"message":"overloaded"}}]', "overloaded .the endpoint ended the stream"),
        (b'{"object":"error","message":"overloaded"}', "overloaded .the endpoint ended the stream"),
        (b'{"choices":[{"finish_reason":"error"}]}', "finish_reason.*the endpoint ended the stream"),
        (
            b'{"choices":[{"error":{"message":"overloaded"}}]}',
            "overloaded .the endpoint ended the stream",
        ),
        (b'{"choices":[{"delta":{"content":"Hal', "Hal.*damaged chunk"),
        (b'{"x":' + b"[" * 100_000, "damaged chunk"),
    ],
)
def test_a_chunk_that_is_an_error_or_damaged_ends_the_stream(data: bytes, message: str) -> None:
    with pytest.raises(InvalidReply, match=message):
        StreamAccumulator().add(data)


@pytest.mark.parametrize(
    "data", [b"null", b"true", b"0", b"[1]", b'"busy"', b"<html>", b"ping", b'{"choices":"none"}', b"{}"]
)
def test_data_that_is_not_a_chunk_is_ignored(data: bytes) -> None:
    made = StreamAccumulator()
    made.add(chunk({"content": "Hal"}))
    assert made.add(data) == []
    assert made.add(chunk({"content": "lo"}, finish="stop")) == [Chunk("lo")]
    assert made.finished
    assert made.stray_data == (b"" if data == b"null" else data)
