"""Properties of the parsers for any input. Each check takes a random generator and fails by raising."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
from httpx_sse import EventSource
from tests.fuzz.answers import ENCODERS, corrupted, cut, loosened, whole_answer
from tests.fuzz.by_h11 import LOOSER, STRICTER, Refused, read_by_h11, why
from tests.fuzz.events import event_stream
from tests.fuzz.http2 import (
    a_corrupted_http2_conversation_is_parsed_or_a_protocol_error,
    http2_agrees_with_h2,
)

from headrace import CallError, ProtocolError, ReplyTooLarge
from headrace.errors import InvalidReply
from headrace.replies import Headers, Reply
from headrace.transports.content_encoding import Decoder, decode_body
from headrace.transports.http1.response_parser import ResponseParser
from headrace.wire.reply_bodies import read_reply_body
from headrace.wire.sse import EventParser
from headrace.wire.stream_accumulator import StreamAccumulator

LIMIT = 20_000
SECONDS = 2.0
"""Limit of processor time for one input of at most 100 KiB; usually it is below a millisecond."""

_BLANKS = re.compile(rb"[\x01-\x20\x7f]+")
_LAST_CHUNK = re.compile(rb"\r\n0+(;[^\r\n]*)?[ \t]*\r\n")
"""The body is complete with it, even if garbage follows."""

ParsedResponse = tuple[int, list[tuple[bytes, bytes]], bytes]


def read(method: str, packets: list[bytes]) -> ResponseParser:
    """The response in these packets, over a connection that is closed after them. Raises `CallError`."""
    parser = ResponseParser(LIMIT)
    parser.begin(method)
    for packet in packets:
        if parser.feed(packet):
            return parser
    parser.finish()
    return parser


def outcome(method: str, packets: list[bytes]) -> ParsedResponse | CallError:
    """Status, headers and undecoded body, or the error."""
    try:
        parser = read(method, packets)
    except CallError as error:
        return error
    return parser.status, parser.headers, bytes(parser._body)


def a_valid_response_is_parsed_from_any_packets(rng: random.Random) -> None:
    answer = whole_answer(rng)
    parser = read(answer.method, cut(rng, answer.data))
    assert (parser.status, parser.content()) == (answer.status, answer.body), answer.data
    assert not (parser.reusable and answer.ends_with_connection), answer.data


def a_corrupted_response_is_a_reply_or_a_typed_error(rng: random.Random) -> None:
    answer = whole_answer(rng)
    data, began = corrupted(rng, answer.data), time.process_time()
    try:
        parser = read(answer.method, cut(rng, data))
        reply = Reply(parser.status, Headers(parser.headers), parser.content())
        assert 200 <= reply.status <= 999, data
        assert len(reply.content) <= LIMIT, data
        repr((reply, reply.headers))
        read_reply_body(reply)
    except (ProtocolError, ReplyTooLarge, InvalidReply) as error:
        assert "\n" not in str(error), data  # noqa: PT017 - either is right
        assert len(str(error)) < 1000, data  # noqa: PT017
    assert time.process_time() - began < SECONDS, data


def a_corrupted_response_is_parsed_alike_from_any_packets(rng: random.Random) -> None:
    answer = whole_answer(rng)
    data = corrupted(rng, answer.data)
    whole, pieces = outcome(answer.method, [data]), outcome(answer.method, cut(rng, data))
    if isinstance(whole, CallError):
        assert type(whole) is type(pieces), (data, pieces)
    else:
        assert whole == pieces, data


def a_lenient_head_is_parsed_as_the_strict_one(rng: random.Random) -> None:
    answer = whole_answer(rng)
    data, began = loosened(rng, answer.data), time.process_time()
    strict, loose = read(answer.method, [answer.data]), read(answer.method, cut(rng, data))
    assert (loose.status, loose.content()) == (strict.status, strict.content()), data
    assert _folded((0, loose.headers, b"")) == _folded((0, strict.headers, b"")), data
    assert not loose.reusable or answer.data.endswith(data), data
    assert time.process_time() - began < SECONDS, data


def parsing_agrees_with_h11(rng: random.Random) -> None:
    """If one accepts what the other rejects, `by_h11` has the reason."""
    answer = whole_answer(rng)
    data = corrupted(rng, answer.data) if rng.random() < 0.8 else answer.data
    ours, theirs = outcome(answer.method, cut(rng, data)), read_by_h11(answer.method, data)
    if isinstance(ours, CallError):
        assert isinstance(theirs, Refused) or why(STRICTER, str(ours)), (data, ours)
    elif isinstance(theirs, Refused):
        is_whole = theirs.waits_for_more and _LAST_CHUNK.search(data)
        assert is_whole or why(LOOSER, theirs.message), (data, theirs)
    else:
        assert _folded(ours) == _folded(theirs), data


def _folded(response: ParsedResponse) -> ParsedResponse:
    """h11 writes the value of transfer-encoding in lower case, and keeps control characters in values."""
    coding = b"transfer-encoding"
    headers = [(name, value.lower() if name.lower() == coding else value) for name, value in response[1]]
    return response[0], [(name, _BLANKS.sub(b" ", value).strip()) for name, value in headers], response[2]


def decompression_agrees_with_httpx(rng: random.Random) -> None:
    """httpx accepts truncated data and data with garbage behind it, and ignores later members."""
    name, encode = rng.choice(ENCODERS)
    data = rng.choice((b"", b'{"a":1}' * rng.randrange(40), rng.randbytes(rng.randrange(100))))
    content, members = encode(data), 1
    if rng.random() < 0.1 and name == b"gzip":
        content, members = content + encode(data), 2
    if rng.random() < 0.7:
        content, members = corrupted(rng, content), 0
    names, began = name.decode(), time.process_time()
    if rng.random() < 0.2:
        content, names = ENCODERS[0][1](content), f"{names}, gzip"
    try:
        ours = decode_body(content, names, LIMIT)
    except (ProtocolError, ReplyTooLarge) as error:
        assert members == 0, error  # noqa: PT017
    else:
        assert len(ours) <= LIMIT
        theirs = httpx.Response(200, headers={"content-encoding": names}, content=content).content
        assert ours == data * members if members else ours.startswith(theirs), content
    assert time.process_time() - began < SECONDS, content


def pieces_decompress_to_the_same_as_the_whole(rng: random.Random) -> None:
    (name, encode), (other, encode_more) = rng.choice(ENCODERS), rng.choice((*ENCODERS, (b"utf-8", bytes)))
    content = encode_more(encode(b'{"a":1}' * rng.randrange(40) + rng.randbytes(rng.randrange(100))))
    if rng.random() < 0.7:
        content = corrupted(rng, content)
    names = f"{name.decode()}, {other.decode()}"
    whole, pieces = _decoded(names, [content]), _decoded(names, cut(rng, content))
    assert whole == pieces, (names, content)


def _decoded(names: str, pieces: list[bytes]) -> bytes | type[CallError]:
    decoder = Decoder(names, LIMIT)
    try:
        decoded = b"".join(map(decoder.feed, pieces))
        decoder.finish()
    except CallError as error:
        return type(error)
    return decoded


def events_of(packets: list[bytes]) -> list[tuple[bytes, bytes]]:
    parser = EventParser()
    return [event for packet in packets for event in parser.feed(packet)]


_BEYOND_THE_STANDARD = re.compile(rb"(?:\A|[\r\n])(?:\s*[{\[]|error(?::|[\r\n]|\Z))")
"""Lines that endpoints send as data, and the standard ignores."""


def events_agree_with_httpx_sse(rng: random.Random) -> None:
    """Any stream; without empty events, and without the byte order mark, which the other parser keeps."""
    stream = event_stream(rng)
    if rng.random() < 0.5:
        stream = corrupted(rng, stream)
    if _BEYOND_THE_STANDARD.search(stream):
        return
    # It ends with an event's blank line, because a truncated event counts here.
    stream += b"\n\n"
    stream, began = stream.removeprefix(b"\xef\xbb\xbf"), time.process_time()
    ours = events_of(cut(rng, stream))
    assert time.process_time() - began < SECONDS, stream
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream; charset=utf-8"}, content=iter(cut(rng, stream))
    )
    theirs = [(event.event, event.data) for event in EventSource(response).iter_sse() if event.data]
    as_text = [
        (name.decode(errors="replace") or "message", data.decode(errors="replace")) for name, data in ours
    ]
    assert as_text == theirs, stream


def a_stream_gives_the_same_for_any_packets(rng: random.Random) -> None:
    """The result is the same for any packets, with any content."""
    stream = event_stream(rng)
    if rng.random() < 0.7:
        stream = corrupted(rng, stream)
    assert _assembled([stream]) == _assembled(cut(rng, stream)), stream


def _assembled(packets: list[bytes]) -> Any:
    assembly = StreamAccumulator()
    try:
        for _, data in events_of(packets):
            if data != b"[DONE]":
                assembly.add(data)
    except InvalidReply as error:
        return str(error)
    return assembly.body(), assembly.finished


CHECKS: dict[str, Callable[[random.Random], None]] = {
    check.__name__: check
    for check in (
        a_valid_response_is_parsed_from_any_packets,
        a_corrupted_response_is_a_reply_or_a_typed_error,
        a_corrupted_response_is_parsed_alike_from_any_packets,
        a_lenient_head_is_parsed_as_the_strict_one,
        parsing_agrees_with_h11,
        decompression_agrees_with_httpx,
        pieces_decompress_to_the_same_as_the_whole,
        events_agree_with_httpx_sse,
        a_stream_gives_the_same_for_any_packets,
        http2_agrees_with_h2,
        a_corrupted_http2_conversation_is_parsed_or_a_protocol_error,
    )
}
