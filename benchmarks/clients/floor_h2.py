"""The lower bound over HTTP/2: Protocol, libnghttp2 and msgspec, without policies, timeouts or errors."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast
from urllib.parse import urlsplit

import msgspec
import ngh2
from benchmarks.clients.http_messages import origin_of
from benchmarks.clients.worker_tasks import run_workers
from benchmarks.measurement import HEADERS, Answer, Job, Stopwatch, body

Fields = list[tuple[bytes, bytes]]

STREAMS = 100
"""Requests in flight on one connection: the number that is allowed before the server sends its limit."""

STREAM_WINDOW, CONNECTION_WINDOW = 2**20, 2**24
BUFFER = 2**18


class Connection(asyncio.BufferedProtocol):
    """One connection, with many requests in flight.

    Requests made before it is open are sent when it opens. Requests of one loop iteration are sent together.
    It reads into its own buffer: for a plain Protocol, uvloop allocates 256 kB for each TLS record.
    """

    def __init__(self) -> None:
        self.free = STREAMS
        self._buffer = memoryview(bytearray(BUFFER))
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._flushing = False
        self._in_flight: dict[int, tuple[asyncio.Future[bytes], list[bytes]]] = {}
        self._engine = ngh2.Connection(
            ngh2.Role.CLIENT, ngh2.Configuration(peer_max_concurrent_streams=STREAMS)
        )
        self._engine.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW})
        self._engine.set_local_window_size(CONNECTION_WINDOW)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the waiting requests."""
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def get_buffer(self, hint: int) -> memoryview:
        """The buffer for received bytes."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """Feed the engine, and return complete responses through their futures."""
        self._engine.receive_data(self._buffer[:size])
        for event in self._engine.events():
            if isinstance(event, ngh2.DataReceived):
                self._in_flight[event.stream_id][1].append(event.data)
            elif isinstance(event, ngh2.StreamClosed):
                future, parts = self._in_flight.pop(event.stream_id)
                self.free += 1
                future.set_result(b"".join(parts))
        self._flush_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the requests in flight."""
        for future, _ in self._in_flight.values():
            future.set_exception(error or EOFError())

    def request(self, fields: Fields, content: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future is the response's body."""
        self.free -= 1
        stream = self._engine.send_request([*fields, (b"content-length", b"%d" % len(content))])
        self._engine.send_data(stream, content, end_stream=True)
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._in_flight[stream] = future, []
        self._flush_soon()
        return future

    def _flush_soon(self) -> None:
        if not self._flushing and self._transport is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._engine.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def fields_of(url: str) -> Fields:
    """The header fields of all requests."""
    parts = urlsplit(url)
    fields = {":method": "POST", ":scheme": parts.scheme, ":authority": parts.netloc, ":path": parts.path}
    fields |= HEADERS | {"content-type": "application/json"}
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


async def run(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    loop, connections = asyncio.get_running_loop(), list[Connection]()
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    fields, (host, port) = fields_of(job.url), origin_of(job.url)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])

    async def call(number: int) -> Answer:
        connection = next((each for each in connections if each.free), None)
        sent = encode(body(number))
        if connection is None:
            connection = Connection()
            connections.append(connection)
            answer = connection.request(fields, sent)
            await loop.create_connection(lambda: connection, host, port, ssl=context)
        else:
            answer = connection.request(fields, sent)
        return Answer.of(decode(await answer))

    await run_workers(job, watch, call)
    for connection in connections:
        connection.close()
