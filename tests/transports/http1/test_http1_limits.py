"""What an endpoint may make this process keep, and which requests the writer allows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Endpoint, ReplyTooLarge, Request, RequestError, Secret, SettingsError
from headrace.transports.http1.response_parser import ResponseParser
from headrace.transports.incoming_response import MAX_HEAD_BYTES
from headrace.transports.request_writer import Http1Writer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def endlessly(first: bytes, then: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield then


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"HTTP/1.1 200 " + b"x" * 100, b"x" * 1000),
        (OK, b"X-Field: value\r\n" * 60),
        (OK + b"X: ", b"y" * 1000),
        (OK, b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
        (CHUNKED + b"2;", b"extension" * 100),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-Field: value\r\n" * 60),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"y" * 1000),
        (CHUNKED, b"2\r\n{}\r\n" * 100),
        (OK + b"\r\n", b"x" * 1000),
    ],
    ids=[
        "reason",
        "headers",
        "header value",
        "header name",
        "interim answers",
        "chunk extension",
        "trailers",
        "trailer value",
        "chunks",
        "body",
    ],
)
def test_endless_data_is_rejected_before_it_fills_the_memory(first: bytes, then: bytes) -> None:
    parser = ResponseParser(200_000)
    parser.begin("POST")
    fed = 0
    tracemalloc.start()
    with pytest.raises(ReplyTooLarge):  # noqa: PT012
        for piece in endlessly(first, then):
            fed += len(piece)
            parser.feed(piece)
            assert fed < 2_000_000, "never rejected"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MAX_HEAD_BYTES


def test_a_body_in_tiny_chunks_needs_little_more_than_its_size() -> None:
    parser = ResponseParser(1_000_000)
    parser.begin("POST")
    parser.feed(CHUNKED)
    piece = b"2\r\nab\r\n" * 1000
    tracemalloc.start()
    for _ in range(450):
        parser.feed(piece)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 2 * 900_000
    assert parser.feed(b"0\r\n\r\n")
    assert parser.content() == b"ab" * 450_000


def test_headers_of_usual_size_are_accepted() -> None:
    parser = ResponseParser(1000)
    parser.begin("POST")
    head = OK + b"".join(b"X-Field-%d: %s\r\n" % (n, b"v" * 1000) for n in range(200))
    assert parser.feed(head + b"Content-Length: 2\r\n\r\n{}")
    assert len(parser.headers) == 201


def test_the_limit_of_a_body_is_exact() -> None:
    for size, framing in ((1000, b"Content-Length: 1000\r\n\r\n"), (1000, b"\r\n")):
        parser = ResponseParser(1000)
        parser.begin("POST")
        parser.feed(OK + framing + b"x" * size)
        parser.finish()
        assert len(parser.content()) == size
        parser = ResponseParser(999)
        parser.begin("POST")
        with pytest.raises(ReplyTooLarge, match="999"):
            parser.feed(OK + framing + b"x" * size)


def test_the_lines_of_a_request() -> None:
    endpoint = Endpoint("https://llm.example:8443/v1", Secret("sk-test"), {"X-Tenant": "a"})
    head, _, body = (
        Http1Writer(endpoint).write(Request(None, "/x"), b'{"a":1}', streamed=False).partition(b"\r\n\r\n")
    )
    first, *fields = head.decode().split("\r\n")
    assert first == "POST /v1/x HTTP/1.1"
    assert fields[:2] == ["Host: llm.example:8443", "Authorization: Bearer sk-test"]
    assert {"X-Tenant: a", "Content-Type: application/json", "Content-Length: 7"} <= set(fields)
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://host", "/x", "host"),
        ("http://host:80/v1", "/v1/x", "host:80"),
        ("http://[::1]:8000/v1", "/v1/x", "[::1]:8000"),
    ],
)
def test_target_and_host_come_from_the_url(url: str, target: str, host: str) -> None:
    lines = (
        Http1Writer(Endpoint(url))
        .write(Request(None, "/x", "GET"), b"", streamed=False)
        .decode()
        .split("\r\n")
    )
    assert lines[0] == f"GET {target} HTTP/1.1"
    assert lines[1] == f"Host: {host}"
    assert lines[-2:] == ["", ""]


def test_endless_paths_do_not_fill_the_memory() -> None:
    writer = Http1Writer(Endpoint("http://host/v1"))
    tracemalloc.start()
    for number in range(20_000):
        writer.write(Request(None, f"/files/{number}", "GET"), b"", streamed=False)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 1_000_000


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer x"},
        {"HOST": "x"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"": "x"},
        {"X Y": "x"},
        {"X:": "x"},
        {"X\r\nY": "x"},
        {"Größe": "x"},
        {"X": "a\r\nb"},
        {"X": "a\nb"},
        {"X": "a\x00b"},
        {"X": "größe"},
    ],
    ids=repr,
)
def test_invalid_or_reserved_headers_are_rejected(headers: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="header"):
        Endpoint("http://host/v1", headers=headers)
    # A request may be for another key, and its body may not be JSON.
    if not headers.keys() <= {"Authorization", "Content-Type"}:
        with pytest.raises(RequestError, match="header"):
            Http1Writer(Endpoint("http://host/v1")).write(
                Request(None, headers=(*headers.items(),)), b"", streamed=False
            )


@given(st.text(), st.text(), st.booleans())
def test_a_header_cannot_add_a_line(name: str, value: str, everywhere: bool) -> None:
    try:
        writer = Http1Writer(Endpoint("http://host", headers={name: value} if everywhere else {}))
        written = writer.write(Request(None, "/", "GET", headers=((name, value),)), b"", streamed=False)
    except (RequestError, SettingsError):
        return
    assert written.count(b"\r\n") == 7
    assert written.count(b"\n") == 7
    assert b"\x00" not in written
