"""A scripted HTTP/2 server: h2 writes valid frames, and invalid ones are raw bytes."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from headrace import Headers

if TYPE_CHECKING:
    from tests.transports.conftest import Peer

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NEVER = 2**31 - 1
"""A GOAWAY's last stream while that is not known yet."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame with any content."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value: int) -> bytes:
    """An integer of four bytes."""
    return struct.pack(">I", value)


def fields(*named: tuple[str, str]) -> bytes:
    """Header fields in HPACK that change no table: literals without indexing."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in named)


def _text(text: str) -> bytes:
    data = text.encode("latin-1")
    size, length = len(data), bytearray()
    if size < 127:
        return bytes([size]) + data
    length.append(127)
    size -= 127
    while size >= 128:
        length.append(size % 128 | 128)
        size //= 128
    length.append(size)
    return bytes(length) + data


def head(stream: int, *named: tuple[str, str], status: str = "200", end: bool = False) -> bytes:
    """A HEADERS frame with a status and these fields."""
    return frame(HEADERS, END_HEADERS | end, stream, fields((":status", status), *named))


def answered(stream: int, body: bytes = b"{}") -> bytes:
    """A complete response."""
    return head(stream) + frame(DATA, END_STREAM, stream, body)


def goaway(last: int, code: int = 0, data: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, number(last) + number(code) + data)


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, number(code))


def settings(code: int, value: int) -> bytes:
    """A SETTINGS frame. Setting 3 is the maximum of concurrent streams, 4 the initial window."""
    return frame(SETTINGS, 0, 0, struct.pack(">HI", code, value))


@attrs.define
class ServerRequest:
    """A request as far as it has arrived. ``connection`` counts from 0."""

    connection: int
    stream: int
    headers: Headers
    body: bytearray = attrs.field(factory=bytearray)
    whole: bool = False

    @property
    def method(self) -> str:
        return self.headers[":method"]

    @property
    def target(self) -> str:
        return self.headers[":path"]


class Http2Peer:
    """One HTTP/2 connection, from the server's side.

    ``streams``, ``window``: the limits in its SETTINGS, None for the default; `allow` changes the first. It
    refuses streams beyond that. Without ``accepts`` it does not open the client's windows.
    """

    def __init__(
        self, peer: Peer, *, streams: int | None = 100, window: int | None = None, accepts: bool = True
    ) -> None:
        config = h2.config.H2Configuration(client_side=False)
        self._peer = peer
        self._accepts = accepts
        self._sending = anyio.Lock()
        self.number = peer.number
        self.h2 = h2.connection.H2Connection(config)
        self.by_stream: dict[int, ServerRequest] = {}
        self.whole: deque[ServerRequest] = deque()
        self.resets: dict[int, int] = {}
        self.pings = self.asked_pings = 0
        self.windows: dict[int, int] = {}
        self.said_goodbye = False
        self.allowed = streams
        self.refused = self.most = 0
        self._window = window
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={})

    async def begin(self) -> Http2Peer:
        """Send the SETTINGS, and receive the client's."""
        self.h2.initiate_connection()
        if self._window is not None:
            await self.send(settings(4, self._window))
        if self.allowed is not None:
            await self.allow(self.allowed)
        await self.until(lambda: bool(self.h2.remote_settings.initial_window_size != 65535))
        return self

    async def flush(self) -> None:
        """Send what h2 has to send."""
        await self.send()

    async def allow(self, streams: int) -> None:
        """Set how many streams may be open at once."""
        self.allowed = streams
        await self.send(settings(3, streams))

    async def send(self, *frames: bytes) -> None:
        """Send frames unchanged, in one piece."""
        async with self._sending:
            if data := self.h2.data_to_send() + b"".join(frames):
                await self._peer.send(data)

    async def more(self) -> bool:
        """Receive some of what the client sends. False if it has closed."""
        if not await self._peer.more():
            return False
        data, self._peer._received = self._peer._received, b""
        self.hear(self.h2.receive_data(data))
        with contextlib.suppress(OSError):
            await self.flush()
        return True

    def hear(self, events: list[Any]) -> None:
        """Process an event of the client."""
        for event in events:
            request = self.by_stream.get(getattr(event, "stream_id", 0))
            if isinstance(event, h2.events.RequestReceived):
                self._begun(event)
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = event.error_code
                self._peer._server.tell()
            elif isinstance(event, h2.events.DataReceived) and request is not None:
                request.body += event.data
                if self._accepts and event.flow_controlled_length:
                    with contextlib.suppress(h2.exceptions.StreamClosedError):
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded) and request is not None:
                request.whole = True
                self.whole.append(request)
                self._peer._server.requests.append(_seen(request))
                self._peer._server.tell()
            elif isinstance(event, h2.events.PingAckReceived):
                self.pings += 1
                self._peer._server.tell()
            elif isinstance(event, h2.events.PingReceived):
                self.asked_pings += 1
            elif isinstance(event, h2.events.WindowUpdated):
                self.windows[event.stream_id] = self.windows.get(event.stream_id, 0) + event.delta
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.said_goodbye = True

    def _begun(self, event: h2.events.RequestReceived) -> None:
        stream, open_now = event.stream_id, self.h2.open_inbound_streams
        self.most = max(self.most, open_now)
        if self.allowed is not None and open_now > self.allowed:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            self.refused += 1
        else:
            named = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.by_stream[stream] = ServerRequest(self.number, stream, Headers(named))

    async def widen(self, size: int, stream: int = 0) -> None:
        """Let the client send this number of further bytes, for all requests or for one."""
        await self.flush()
        self.h2.increment_flow_control_window(size, stream or None)
        self.h2.clear_outbound_data_buffer()
        await self.send(frame(WINDOW_UPDATE, 0, stream, number(size)))

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Receive until a condition is true. False if the client closes first."""
        while not condition():
            if not await self.more():
                return False
        return True

    async def drained(self) -> bool:
        """Wait until the client has read everything so far, which a reset would discard. False: it has
        closed.
        """
        pings = self.pings
        await self.send(frame(PING, 0, 0, b"received"))
        return await self.until(lambda: self.pings > pings)

    async def request(self) -> ServerRequest | None:
        """The next complete request, or None if the client has closed."""
        await self.until(lambda: bool(self.whole))
        return self.whole.popleft() if self.whole else None

    def requests(self) -> Http2Peer:
        """Call a function with each whole request, until the client closes. Not a generator: trio wants those
        closed.
        """
        return self

    def __aiter__(self) -> Http2Peer:
        return self

    async def __anext__(self) -> ServerRequest:
        request = await self.request()
        if request is None:
            raise StopAsyncIteration
        return request

    async def some(self, count: int) -> list[ServerRequest]:
        """The next ``count`` complete requests, in the order of their streams."""
        await self.until(lambda: len(self.whole) >= count)
        return sorted((self.whole.popleft() for _ in range(count)), key=lambda request: request.stream)

    async def answer(
        self, request: ServerRequest, body: bytes | None = None, *headers: tuple[str, str], status: int = 200
    ) -> None:
        """A complete response, sent as the client's windows allow it, now or later; by default its target."""
        if body is None:
            body = b'{"target":"%s"}' % request.target.encode()
        named = [(":status", str(status)), ("content-length", str(len(body))), *headers]
        with contextlib.suppress(h2.exceptions.ProtocolError):  # one side has reset it
            self.h2.send_headers(request.stream, named)
            await self.body(request, body)

    async def body(self, request: ServerRequest, data: bytes, *, end: bool = True) -> None:
        """A body or a part of it, as far as the client's windows allow it."""
        rest = memoryview(data)
        while rest:
            room = min(
                self.h2.local_flow_control_window(request.stream), self.h2.max_outbound_frame_size, len(rest)
            )
            if not room:
                await self.flush()
                if not await self.more():
                    return
                continue
            self.h2.send_data(request.stream, bytes(rest[:room]))
            rest = rest[room:]
            await self.flush()
        if end:
            self.h2.end_stream(request.stream)
        await self.flush()

    async def answer_all(self) -> None:
        """Answer every request with its target, until the client closes."""
        async for request in self.requests():
            await self.answer(request)


def _seen(request: ServerRequest) -> Any:
    from tests.transports.conftest import Seen

    return Seen(request.connection, request.method, request.target, request.headers, bytes(request.body))


async def answer_http2(peer: Peer) -> None:
    """A script: answer every request of an HTTP/2 connection."""
    await (await Http2Peer(peer).begin()).answer_all()
