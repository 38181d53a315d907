"""Output lines."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.line_encoding import encode_line
from headrace.bulk.output_line import decode_entry, decode_line
from headrace.calls import Outcome
from headrace.errors import ConnectError, RateLimited
from headrace.replies import Headers, Reply


def reply(content: bytes) -> Reply:
    return Reply(200, Headers([(b"X-Request-Id", b"req-1")]), content)


def outcome(found: Reply | None) -> Outcome:
    return Outcome(3, None, found, None, attempts=2, elapsed=0.25)


def test_a_success_has_the_fields_of_the_batch_format_and_the_body_unchanged() -> None:
    found = reply(b'{"n": 1.0, "text": "\xc3\xa4"}')
    found.cost = Decimal("0.000123")
    line = encode_line(3, "q3", outcome(found), "ä", None, 1735689600.1234)
    assert line.count(b"\n") == 1
    assert b'{"n": 1.0, "text": "\xc3\xa4"}' in line
    assert json.loads(line) == {
        "id": "headrace-3",
        "custom_id": "q3",
        "response": {"status_code": 200, "request_id": "req-1", "body": {"n": 1.0, "text": "ä"}},
        "error": None,
        "headrace": {
            "attempts": 2,
            "elapsed": 0.25,
            "completed_at": 1735689600.123,
            "cost": "0.000123",
            "answer": "ä",
        },
    }


@pytest.mark.parametrize("content", [b'{"a":\n [1,\r\n 2]}', b"{}\n"])
def test_a_body_with_line_breaks_becomes_one_line(content: bytes) -> None:
    line = encode_line(0, "x", outcome(reply(content)), None, None, 0.0)
    assert line.count(b"\n") == 1
    assert json.loads(line)["response"]["body"] == json.loads(content)


@pytest.mark.parametrize("content", [b'{"a": tru}', b"[1,]", b"{}{}", b"01", b'"\\x"', b"upstream timed out"])
def test_a_body_that_is_not_json_is_kept_as_text(content: bytes) -> None:
    line = json.loads(encode_line(0, "x", outcome(reply(content)), None, None, 0.0))
    assert line["response"]["body"] == content.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (rb'{"text": "Hi \ud83d"}', {"text": "Hi \ufffd"}),
        (b'{"n": NaN, "m": [-Infinity]}', {"n": None, "m": [None]}),
        (b'"\xff"', "\ufffd"),
        (b'"\x01"', "\x01"),
        (b"\xef\xbb\xbf{}", {}),
    ],
)
def test_a_body_that_is_nearly_json_is_written_as_its_value(content: bytes, meaning: Any) -> None:
    line = json.loads(encode_line(0, "x", outcome(reply(content)), None, None, 0.0))
    assert line["response"]["body"] == meaning


def test_a_number_beyond_64_bits_is_written_unchanged() -> None:
    content = b'{"usage": {"prompt_tokens": 10000000000000000000000000},\n "big": 1e999}'
    line = encode_line(0, "x", outcome(reply(content)), None, None, 0.0)
    assert b"10000000000000000000000000" in line
    assert b"1e999" in line


@given(st.binary())
def test_no_body_breaks_the_line(content: bytes) -> None:
    line = encode_line(7, "x", outcome(reply(content)), None, None, 0.0)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["id"] == "headrace-7"
    assert decode_entry(line).index == 7


def test_failures_keep_code_message_and_response() -> None:
    line = json.loads(encode_line(0, "x", outcome(None), None, ConnectError("refused"), 0.0))
    assert line["response"] is None
    assert line["error"] == {"code": "connect_error", "message": "refused"}
    error = RateLimited("slow down", 429, Headers([]), b'{"error": {"code": "rpm"}}')
    line = json.loads(encode_line(0, "x", outcome(None), None, error, 0.0))
    assert line["response"]["status_code"] == 429
    assert line["response"]["body"] == {"error": {"code": "rpm"}}
    assert decode_entry(json.dumps(line)).failed


@pytest.mark.parametrize("id", ["batch_req_1", "headrace-", "headrace-x", "headrace-1x", "headrace--1"])
def test_lines_of_other_programs_have_no_index(id: str) -> None:
    assert decode_entry(json.dumps({"id": id, "custom_id": "q"})).index is None


@pytest.mark.parametrize("depth", [50, 150, 800, 900, *range(940, 1000, 5), 10_000, 200_000])
def test_a_line_with_a_deeply_nested_body_can_be_read_again(depth: int) -> None:
    body = b'{"a":' * depth + b"1" + b"}" * depth
    line = encode_line(3, "q3", outcome(reply(body)), None, None, 0.0)
    assert decode_entry(line).index == 3
    assert decode_line(line).answered
    whole = json.loads(line)["response"]["body"]
    assert isinstance(whole, dict) or (depth > 200 and whole == body.decode()), (
        "as text, where it is too deep"
    )
