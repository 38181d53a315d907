"""The lower bound on asyncio: Protocol, llhttp and msgspec, without policies, timeouts or errors."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import msgspec
from benchmarks.clients.http_messages import Response, head_of, origin_of
from benchmarks.clients.worker_tasks import run_workers
from benchmarks.measurement import Answer, Job, Stopwatch, body


class Connection(asyncio.Protocol):
    """One connection, with one request in flight at a time."""

    def __init__(self) -> None:
        self._future: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and return a complete response through the future."""
        self._parser.feed_data(data)
        if self._response.is_complete and self._future is not None:
            self._future.set_result(self._response.body)
            self._future = None

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request in flight."""
        if self._future is not None:
            self._future.set_exception(error or EOFError())

    def request(self, data: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future is the response's body."""
        self._response = Response()
        self._parser = httptools.HttpResponseParser(self._response)
        self._future = future = self._loop.create_future()
        self._transport.write(data)
        return future

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def run(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    loop, idle = asyncio.get_running_loop(), list[Connection]()
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    head, (host, port) = head_of(job.url), origin_of(job.url)

    async def call(number: int) -> Answer:
        connection = idle.pop() if idle else (await loop.create_connection(Connection, host, port))[1]
        sent = encode(body(number))
        received = await connection.request(b"%b%d\r\n\r\n%b" % (head, len(sent), sent))
        idle.append(connection)
        return Answer.of(decode(received))

    await run_workers(job, watch, call)
    for connection in idle:
        connection.close()
