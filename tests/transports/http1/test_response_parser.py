"""The HTTP/1.1 response parser, without I/O."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import (
    CallError,
    IncompleteReply,
    ProtocolError,
    ReplyTooLarge,
)
from headrace.transports.http1.response_parser import ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1000

ANSWERS: dict[str, tuple[bytes, int, bytes, bool]] = {
    "content-length": (OK + b"Content-Length: 7\r\nX: y\r\n\r\n" + b'{"a":1}', 200, b'{"a":1}', True),
    "chunked": (
        OK + b'Transfer-Encoding: chunked\r\n\r\n3;x="y"\r\n{"a\r\n04\r\n":1}\r\n0\r\nT: v\r\n\r\n',
        200,
        b'{"a":1}',
        True,
    ),
    "empty": (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "interim": (
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
        + b"HTTP/1.1 103 Hints\r\nLink: x\r\nContent-Length: 2\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\n{}",
        200,
        b"{}",
        True,
    ),
    "gzip": (
        OK
        + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"{}" * 9, mtime=0))
        + gzip.compress(b"{}" * 9, mtime=0),
        200,
        b"{}" * 9,
        True,
    ),
    "close": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    "to the end": (OK + b"\r\n{}", 200, b"{}", False),
    "http/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
}


def parse(pieces: list[bytes], method: str = "POST", limit: int = LIMIT) -> ResponseParser:
    """Feed the parts of a connection that is closed after them."""
    parser = ResponseParser(limit)
    parser.begin(method)
    for piece in pieces:
        if parser.feed(piece):
            break
    else:
        parser.finish()
    return parser


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


@pytest.mark.parametrize("name", ANSWERS)
@given(cuts=st.lists(st.integers(0, 1000), max_size=20))
def test_any_split_of_a_response_gives_the_same_result(name: str, cuts: list[int]) -> None:
    data, status, content, reusable = ANSWERS[name]
    parser = parse(split(data, cuts))
    assert (parser.status, parser.content(), parser.reusable) == (status, content, reusable)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_response_byte_by_byte_gives_the_same_result(name: str) -> None:
    data, status, content, reusable = ANSWERS[name]
    parser = parse([data[n : n + 1] for n in range(len(data))])
    assert (parser.status, parser.content(), parser.reusable) == (status, content, reusable)


@given(st.sampled_from(sorted(ANSWERS)), st.data())
def test_a_corrupted_response_is_parsed_or_raises_a_typed_error(name: str, draw: st.DataObject) -> None:
    data = bytearray(ANSWERS[name][0])
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data)))
        data[place : place + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=4))
    pieces = split(bytes(data), draw.draw(st.lists(st.integers(0, 1000), max_size=5)))
    try:
        parser = parse(pieces)
        assert len(parser.content()) <= LIMIT
        assert 200 <= parser.status <= 999
    except CallError as error:
        assert isinstance(error, (ProtocolError, ReplyTooLarge))  # noqa: PT017


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_random_bytes_are_parsed_or_raise_a_typed_error(pieces: list[bytes], after_a_head: bool) -> None:
    if after_a_head:
        pieces = [OK + b"Transfer-Encoding: chunked\r\n\r\n", *pieces]
    try:
        assert len(parse(pieces).content()) <= LIMIT
    except CallError as error:
        assert isinstance(error, (ProtocolError, ReplyTooLarge))  # noqa: PT017


@given(
    st.lists(st.sampled_from(sorted(n for n in ANSWERS if ANSWERS[n][3])), min_size=2, max_size=6), st.data()
)
def test_several_responses_over_one_connection_are_parsed(names: list[str], draw: st.DataObject) -> None:
    parser = ResponseParser(LIMIT)
    for name in names:
        data, status, content, _ = ANSWERS[name]
        parser.begin("POST")
        done = [
            parser.feed(piece) for piece in split(data, draw.draw(st.lists(st.integers(0, 1000), max_size=4)))
        ]
        assert done == [False] * (len(done) - 1) + [True]
        assert (parser.status, parser.content(), parser.reusable) == (status, content, True)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "to the end"])
@pytest.mark.parametrize("more", [OK, OK + b"Content-Length: 2\r\n\r\n[]", b"rubbish", b"\x00"])
def test_bytes_after_the_response_make_the_connection_unusable(name: str, more: bytes) -> None:
    data, status, content, _ = ANSWERS[name]
    parser = parse([data + more])
    assert (parser.status, parser.content(), parser.reusable) == (status, content, False)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n{}",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\t\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        OK + b"Content-Length: -2\r\n\r\n{}",
        OK + b"Content-Length: +2\r\n\r\n{}",
        OK + b"Content-Length: 2, 2\r\n\r\n{}",
        OK + b"Content-Length: two\r\n\r\n{}",
        OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        OK + b"Bad Header : x\r\n\r\n{}",
        OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X: a\x0bb\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
        OK + b" X: at the beginning\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X : y\nContent-Length: 2\n\n{}",
        OK + b"X: a\nContent-Length: 2\nContent-Length: 3\n\n{}",
        OK + b"X: a\r\n b\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"X: \x01\r\nTransfer-Encoding: \x01chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Content-Length: 2\r\n 3\r\n\r\n{}",
        OK + b"Content-Length: 2\x01\r\n\r\n{}",
        OK + b"Transfer-Encoding : chunked\nX: y\n\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\n{}\r\n0\r\n\r\n",
        b"RTSP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\nICE/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 104 Hm\r\nContent-Length: 2\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 199 Hm\r\nTransfer-Encoding: chunked\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"POST /v1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"<html></html>",
    ],
)
def test_violations_of_http_are_rejected(data: bytes) -> None:
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        with pytest.raises(ProtocolError) as caught:
            parse(pieces)
        assert not isinstance(caught.value, IncompleteReply)


def test_an_error_shows_one_line_of_the_response() -> None:
    with pytest.raises(ProtocolError, match=r"SSH-2\.0") as caught:
        parse([b"SSH-2.0-x\r\nAuthorization: Bearer sk-canary\r\n"])
    assert "sk-canary" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "to the end"])
@given(cut=st.integers(0, 10_000))
def test_a_truncated_response_is_incomplete(name: str, cut: int) -> None:
    data = ANSWERS[name][0]
    with pytest.raises(IncompleteReply, match="closed before"):
        parse([data[: cut % len(data)]])


def test_the_response_to_head_has_no_body_whatever_its_headers_say() -> None:
    for field in (
        b"Content-Length: 5000\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
    ):
        parser = parse([OK + field + b"\r\n"], "HEAD")
        assert (parser.status, parser.content(), parser.reusable) == (200, b"", False)


def test_an_empty_body_needs_no_decompression() -> None:
    assert parse([OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"]).content() == b""


@pytest.mark.parametrize("end", [b"", b" ", b"\t", b" \t "])
def test_spaces_around_a_value_are_removed(end: bytes) -> None:
    parser = parse([OK + b"Retry-After: \t20" + end + b"\r\nContent-Length: 2" + end + b"\r\n\r\n{}"])
    assert parser.headers == [(b"Retry-After", b"20"), (b"Content-Length", b"2")]
