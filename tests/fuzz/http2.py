"""What an HTTP/2 server may send: whole conversations by h2, and corrupted ones."""

from __future__ import annotations

import random
import struct
import time
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
from tests.fuzz.answers import corrupted, cut

from headrace import ProtocolError
from headrace.transports.http2.protocol_engine import ConnectionDraining, Http2Engine

SECONDS = 2.0
"""Limit of processor time for one input; see `tests.fuzz.checks`."""

_FIELDS = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]
_NAMES = [b"content-type", b"x-request-id", b"set-cookie", b"x" * 200, b"retry-after", b"server"]
_VALUES = [b"", b"application/json", b"a=b; path=/", b"v" * 3000, b"\xc3\xa4", b"1"]


@attrs.define
class Answer:
    """The response of one stream. ``end`` is ``open``, ``whole`` or the code of its reset."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    body: bytes = b""
    end: str = "open"

    def finish(self, end: str) -> None:
        if self.end == "open":
            self.end = end


class Recorder:
    """Records the events of an engine; see `EngineEvents`."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self.closed: set[int] = set()
        self.engine: Http2Engine | None = None
        self.away: tuple[int, bytes] | None = None
        self.allowed = 100

    def _of(self, stream: int) -> Answer:
        assert stream in self.answers, f"stream {stream} was not opened here"
        assert stream not in self.closed, f"stream {stream} is closed"
        return self.answers[stream]

    def on_response(self, stream_id: int, status: int, headers: Any, last: bool) -> None:
        answer = self._of(stream_id)
        assert answer.status == 0, "a second head"
        assert 200 <= status <= 999
        answer.status, answer.headers = status, list(headers)
        if last:
            answer.finish("whole")

    def on_data(self, stream_id: int, data: bytes, last: bool) -> None:
        answer = self._of(stream_id)
        assert answer.status, "a body before its head"
        answer.body += data
        if data and self.engine is not None:
            self.engine.acknowledge_data(stream_id, len(data))
        if last:
            answer.finish("whole")

    def on_trailers(self, stream_id: int) -> None:
        self._of(stream_id).finish("whole")

    def on_stream_failed(self, stream_id: int, code: int, *, by_peer: bool, unsent: bool) -> None:
        self._of(stream_id).finish(str(code))

    def on_stream_closed(self, stream_id: int) -> None:
        self._of(stream_id).finish("0")
        self.closed.add(stream_id)

    def on_goaway(self, code: int, debug_data: bytes, last_stream_id: int) -> None:
        self.away = (code, debug_data)

    def on_max_streams(self, count: int) -> None:
        self.allowed = count

    def on_terminated(self, code: int) -> None:
        pass


def _begun(rng: random.Random, count: int) -> tuple[Http2Engine, Recorder, bytes]:
    recorder = Recorder()
    engine = recorder.engine = Http2Engine(recorder)
    for _ in range(count):
        stream = engine.send_request(_FIELDS, rng.randbytes(rng.randrange(50)), whole=True)
        recorder.answers[stream] = Answer()
    return engine, recorder, engine.data_to_send()


def _conversation(rng: random.Random, data: bytes, streams: list[int]) -> bytes:
    """The server's side of a random conversation."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    server.receive_data(data)
    state = dict.fromkeys(streams, "idle")
    for _ in range(rng.randrange(40)):
        alive = [stream for stream, what in state.items() if what != "over"]
        kind = rng.random()
        if kind < 0.1 or not alive:
            server.ping(rng.randbytes(8))
        elif kind < 0.15:
            count = rng.choice((0, 1, 7, 100, 2**32 - 1))
            server.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: count})
        elif kind < 0.2:
            server.increment_flow_control_window(rng.randrange(1, 1000))
        else:
            stream = rng.choice(alive)
            state[stream] = _say(rng, server, stream, state[stream])
    if rng.random() < 0.3:
        last = rng.choice([0, *streams])
        server.close_connection(rng.randrange(14), rng.randbytes(rng.randrange(20)), last)
    return server.data_to_send()


def _say(rng: random.Random, server: h2.connection.H2Connection, stream: int, state: str) -> str:
    if rng.random() < 0.1:
        server.reset_stream(stream, rng.randrange(14))
        return "over"
    more = [(rng.choice(_NAMES), rng.choice(_VALUES)) for _ in range(rng.randrange(5))]
    if state == "idle":
        if rng.random() < 0.2:
            server.send_headers(stream, [(b":status", rng.choice((b"100", b"103"))), *more])
            return "idle"
        end = rng.random() < 0.2
        status = rng.choice((b"200", b"204" if end else b"201", b"404", b"503", b"999"))
        server.send_headers(stream, [(b":status", status), *more], end_stream=end)
        return "over" if end else "begun"
    if rng.random() < 0.1:
        server.send_headers(stream, [(b"x-checksum", b"1"), *more], end_stream=True)
        return "over"
    end, padding = rng.random() < 0.3, rng.choice((None, 0, 1, 255))
    server.send_data(stream, rng.randbytes(rng.randrange(600)), end_stream=end, pad_length=padding)
    return "over" if end else "begun"


def _read_by_h2(streams: list[int], data: bytes) -> dict[int, Answer]:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    for stream in streams:
        client.send_headers(stream, _FIELDS, end_stream=True)
    answers = {stream: Answer() for stream in streams}
    for event in client.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            (_, status), *headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            answers[event.stream_id].status, answers[event.stream_id].headers = int(status), headers
        elif isinstance(event, h2.events.DataReceived):
            answers[event.stream_id].body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            answers[event.stream_id].finish("whole")
        elif isinstance(event, h2.events.StreamReset):
            answers[event.stream_id].finish(str(int(event.error_code)))
        elif isinstance(event, h2.events.ConnectionTerminated):
            for stream, answer in answers.items():
                if stream > (event.last_stream_id or 0):
                    answer.finish("7")
    return answers


def http2_agrees_with_h2(rng: random.Random) -> None:
    """Status, headers, body and end of each stream are the same for any split of the bytes."""
    engine, recorder, sent = _begun(rng, rng.randrange(1, 6))
    streams = list(recorder.answers)
    data = _conversation(rng, sent, streams)
    theirs = _read_by_h2(streams, data)
    for piece in cut(rng, data):
        engine.receive_data(piece)
        engine.data_to_send()
    assert recorder.answers == theirs, data


def a_corrupted_http2_conversation_is_parsed_or_a_protocol_error(rng: random.Random) -> None:
    """Any bytes raise nothing but `ProtocolError`, and events name only open streams."""
    engine, recorder, sent = _begun(rng, rng.randrange(1, 6))
    streams = list(recorder.answers)
    data = _conversation(rng, sent, streams) if rng.random() < 0.8 else b""
    frames = [_frame(rng) for _ in range(rng.randrange(20))]
    data = corrupted(rng, data + b"".join(frames)) if rng.random() < 0.7 else data + b"".join(frames)
    began = time.process_time()
    try:
        for piece in cut(rng, data):
            engine.receive_data(piece)
            if rng.random() < 0.2:
                _ask_for_more(rng, engine, recorder)
            engine.data_to_send()
    except ProtocolError as error:
        assert "\n" not in str(error), data  # noqa: PT017 - either is right
    _ask_for_more(rng, engine, recorder)
    assert time.process_time() - began < SECONDS, data


def _ask_for_more(rng: random.Random, engine: Http2Engine, recorder: Recorder) -> None:
    kind, stream = rng.randrange(6), rng.choice(list(recorder.answers))
    if kind == 0:
        try:
            stream = engine.send_request(_FIELDS, b"{}", whole=rng.random() < 0.5)
        except ConnectionDraining:
            return
        recorder.answers[stream] = Answer()
    elif kind == 1:
        engine.reset_stream(stream)
    elif kind == 2:
        engine.ping()
    elif kind == 3:
        engine.send_data(stream, b"x" * rng.randrange(100), last=rng.random() < 0.5)
    elif kind == 4:
        engine.close_connection()
    else:
        engine.queued_bytes(stream)


def _frame(rng: random.Random) -> bytes:
    payload = rng.choice(
        (
            b"",
            rng.randbytes(rng.randrange(40)),
            b"\x88",
            struct.pack(">I", rng.choice((0, 1, 2**31 - 1))),
            struct.pack(">HI", rng.randrange(8), rng.choice((0, 1, 65535, 2**31))),
            struct.pack(">II", rng.randrange(8), rng.randrange(14)),
        )
    )
    kind, flags = rng.randrange(12), rng.choice((0, 1, 4, 5, 8, 13, 32))
    stream = rng.choice((0, 1, 1, 3, 2, 99))
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
