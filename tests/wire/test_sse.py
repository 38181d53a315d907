"""Server-sent events are parsed the same with any line ends and any split into packets."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import ReplyTooLarge
from headrace.wire.sse import EventParser, looks_like_events, may_become_events

MANY_BYTES = 4 * 1024 * 1024

DATA = st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), min_size=1).map(str.encode)


def events_of(*packets: bytes) -> list[tuple[bytes, bytes]]:
    parser = EventParser()
    return [*(event for packet in packets for event in parser.feed(packet)), *parser.end()]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
        (b"data: a\ndata: b\ndata\n\n", [(b"", b"a\nb\n")]),
        (b": ping\n\n:\n\ndata: a\n\n", [(b"", b"a")]),
        (b": ping\ndata: a\n\n", [(b"", b"a")]),
        (b"event: error\ndata: {}\n\n", [(b"error", b"{}")]),
        (b"id: 7\nretry: 10\nfoo: bar\ndata: a\n\n", [(b"", b"a")]),
        (b"event: ping\n\n", []),
        (b"data\n\n", []),
        (b"data: \n\ndata:\n\ndata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
        (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\n\ndata: last", [(b"", b"a"), (b"", b"last")]),
        (b"data: a\n", [(b"", b"a")]),
        (b"event: error\ndata: {}", [(b"error", b"{}")]),
        (b"data: a\n\nid: 7", [(b"", b"a")]),
        (b'error: {"message":"m"}\n\n', [(b"error", b'{"message":"m"}')]),
        (b'data: a\n\n{"error":{}}\n\n', [(b"", b"a"), (b"", b'{"error":{}}')]),
        (b'data: a\n\n{\n "error": {}\n}', [(b"", b"a"), (b"", b'{\n "error": {}\n}')]),
        ("data: a\u2028b\u0085c\n\n".encode(), [(b"", "a\u2028b\u0085c".encode())]),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_events_of_the_standard_and_of_endpoints_are_parsed(
    stream: bytes, events: list[tuple[bytes, bytes]], line_end: bytes
) -> None:
    stream = stream.replace(b"\n", line_end)
    assert events_of(stream) == events
    assert events_of(*(stream[at : at + 1] for at in range(len(stream)))) == events
    for at in range(len(stream)):
        assert events_of(stream[:at], stream[at:]) == events


@given(
    st.lists(st.tuples(DATA, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=6),
    st.lists(st.integers(0, 400)),
)
def test_data_is_the_same_at_any_split(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(b"data: %b%b%b" % (data, end, end) for data, end in sent)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    packets = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert events_of(*packets) == [(b"", data) for data, _ in sent]


def test_an_event_is_returned_with_its_last_byte() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r\n\r") == [(b"", b"a")]
    assert parser.feed(b"\ndata: b\r\n\r\n") == [(b"", b"b")]


@pytest.mark.parametrize("line", [b"data\n", b"data: x\n", b":\n", b"\r", b"\r\n", b"event: a\r\n"])
@pytest.mark.parametrize("packet", [1 << 10, 1 << 22])
def test_an_event_of_very_many_lines_takes_linear_time(line: bytes, packet: int) -> None:
    stream = (line * MANY_BYTES)[: MANY_BYTES - 10] + b"\n\n"
    began = time.process_time()
    events_of(*(stream[at : at + packet] for at in range(0, len(stream), packet)))
    assert time.process_time() - began < 10, "quadratic time would take hours"


def test_an_event_over_the_maximum_is_an_error() -> None:
    parser = EventParser(MANY_BYTES)

    def feed() -> None:
        # Joining each of these small packets to all earlier ones would take hours.
        for _ in range(MANY_BYTES // 8 + 1):
            parser.feed(b"x" * 8)

    with pytest.raises(ReplyTooLarge, match="max_response_bytes=4194304"):
        feed()


@pytest.mark.parametrize("head", [b"data:", b"event: a", b": ping", b"id: 1", b"retry: 3", b"error: {}"])
@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b"\r\n\r\n"])
def test_a_stream_of_events_is_recognised_by_its_beginning(head: bytes, before: bytes) -> None:
    assert looks_like_events(before + head + b"\n\n")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b'"data: a"', b"<html>", b"upstream timed out", b"0", b"database: down"]
)
def test_other_bodies_do_not_look_like_events(body: bytes) -> None:
    assert not looks_like_events(body)


def test_a_few_bytes_are_not_enough_to_decide() -> None:
    assert may_become_events(b"\n\nda")
    assert not may_become_events(b'{"error": 1}')
