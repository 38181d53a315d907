"""Heads that HTTP forbids and every client accepts are parsed alike, and their connection is not reused."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import IncompleteReply, ProtocolError, ReplyTooLarge
from headrace.transports.http1.lenient_heads import end_of_head, has_status_line, rewrite_head
from headrace.transports.http1.response_parser import ResponseParser
from headrace.transports.incoming_response import MAX_HEAD_BYTES

LF = b"HTTP/1.1 200 OK\n"
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n\r\n{}"

LENIENT: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    "bare line feeds": (LF + b"X: y\nContent-Length: 2\n\n{}", [(b"X", b"y")]),
    "one bare line feed": (OK + b"X: y\n" + LENGTH, [(b"X", b"y")]),
    "a bare line feed ends the head": (OK + b"X: y\r\nContent-Length: 2\r\n\n{}", [(b"X", b"y")]),
    "folded": (OK + b"X: a\r\n b\r\n\tc\r\n" + LENGTH, [(b"X", b"a b c")]),
    "folded, the first line empty": (OK + b"X:\r\n y\r\n" + LENGTH, [(b"X", b"y")]),
    "folded over a line that would be a header": (OK + b"X: a\r\n Y: b\r\n" + LENGTH, [(b"X", b"a Y: b")]),
    "a control character": (OK + b"X: a\x1b[31mb\x7f\r\n" + LENGTH, [(b"X", b"a [31mb")]),
    "a length, folded": (OK + b"X: y\r\nContent-Length:\r\n 2\r\n\r\n{}", [(b"X", b"y")]),
    "interim, with line feeds": (b"HTTP/1.1 100 Go\n\n" + LF + b"X: y\n" + LENGTH, [(b"X", b"y")]),
    "interim, only it": (b"HTTP/1.1 103 Hints\nLink: x\n\n" + OK + b"X: y\r\n" + LENGTH, [(b"X", b"y")]),
    "only behind an interim one": (b"HTTP/1.1 100 Go\r\n\r\n" + LF + b"X: y\n" + LENGTH, [(b"X", b"y")]),
    "empty lines before it": (b"\r\n\n" + LF + b"X: y\n" + LENGTH, [(b"X", b"y")]),
    "no reason": (b"HTTP/1.1 200\nX: y\n" + LENGTH, [(b"X", b"y")]),
}


def parse(pieces: list[bytes], method: str = "POST") -> ResponseParser:
    """Feed the parts of a connection that is closed after them."""
    parser = ResponseParser(1_000_000)
    parser.begin(method)
    for piece in pieces:
        if parser.feed(piece):
            return parser
    parser.finish()
    return parser


@pytest.mark.parametrize("name", LENIENT)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_lenient_head_is_parsed_and_its_connection_not_reused(name: str, cuts: list[int]) -> None:
    data, headers = LENIENT[name]
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    parser = parse([data[start:end] for start, end in pairwise(edges) if start < end])
    assert (parser.status, parser.content(), parser.reusable) == (200, b"{}", False)
    assert [header for header in parser.headers if header[0] != b"Content-Length"] == headers


@pytest.mark.parametrize("end", [b"{}", b"{}HTTP/1.1 200 OK\n\n", b"{}\n"])
def test_bytes_after_the_response_are_ignored(end: bytes) -> None:
    parser = parse([LF + b"Content-Length: 2\n\n" + end])
    assert (parser.content(), parser.reusable) == (b"{}", False)


@pytest.mark.parametrize("size", [b"2 ", b"2\t", b"2 \t ", b"02 "])
def test_spaces_after_a_chunk_size_are_ignored(size: bytes) -> None:
    parser = parse([OK + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n{}\r\n0 \r\n\r\n"])
    assert (parser.content(), parser.reusable) == (b"{}", True)


@pytest.mark.parametrize(
    "trailers", [b"X: y\n\n", b"X: \x01\r\n\r\n", b"X: y\r\n z\r\n\r\n", b"\n", b"x\r\n\r\n"]
)
def test_broken_trailers_cost_the_connection_but_not_the_response(trailers: bytes) -> None:
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + trailers
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        parser = parse(pieces)
        assert (parser.content(), parser.reusable) == (b"{}", False)


@pytest.mark.parametrize("data", [LF, LF + b"X: y\n", LF + b"X: y", OK + b"X: a\r\n b\r\n"])
def test_a_truncated_lenient_head_is_rejected(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="violates HTTP") as caught:
        parse([data])
    assert not isinstance(caught.value, IncompleteReply)


@pytest.mark.parametrize("data", [b"HTTP/1.1 2x", b"HTTP/1.1 200OK\r\n", b"HTTP/9.1 ", b"HTTP/1.1 \n"])
def test_a_bad_status_line_is_rejected_at_once(data: bytes) -> None:
    parser = ResponseParser(1000)
    parser.begin("POST")
    with pytest.raises(ProtocolError):
        parser.feed(data)


@pytest.mark.parametrize("piece", [b"y", b"X: y\n", b"X: y\n z" * 100])
def test_an_endless_head_is_rejected_in_linear_time(piece: bytes) -> None:
    parser = ResponseParser(1000)
    parser.begin("POST")
    parser.feed(LF + b"X: ")
    began = time.process_time()
    with pytest.raises(ReplyTooLarge):  # noqa: PT012
        for _ in range(MAX_HEAD_BYTES):
            parser.feed(piece)
    assert time.process_time() - began < 5


def test_a_head_is_rewritten_line_by_line() -> None:
    assert rewrite_head(b"HTTP/1.1 200 O\x01K\nA: b\r\n\t c\nContent-Length: 2\x01\n\n") == (
        b"HTTP/1.1 200 O K\r\nA: b c\r\nContent-Length: 2\x01\r\n\r\n"
    )
    assert rewrite_head(OK + b"A: b\r\n\r\n") == OK + b"A: b\r\n\r\n"
    assert rewrite_head(OK + b"A: \x00\x0b\x0c\r!\r\n\r\n") == OK + b"A: \x00\x0b\x0c\r!\r\n\r\n"


def test_a_head_ends_with_an_empty_line() -> None:
    assert end_of_head(bytearray(b"a\r\n\r\nb"), 0) == 5
    assert end_of_head(bytearray(b"a\n\nb\n\n"), -2) == 3
    assert end_of_head(bytearray(b"a\r\n \r\n"), 0) is None


@pytest.mark.parametrize(
    ("data", "has"),
    [(LF, True), (OK, True), (b"\r\n" + LF, True), (LF[:-1], False), (b"HTTP/1.1 20\n", False)],
)
def test_a_status_line_must_be_complete(data: bytes, has: bool) -> None:
    assert has_status_line(data) is has
