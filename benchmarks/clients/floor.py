"""As low as CPython goes on asyncio: Protocol, llhttp, msgspec; no policies, limits in time or errors."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import msgspec
from benchmarks.clients.http_messages import Response, head_of, origin_of
from benchmarks.clients.worker_tasks import work
from benchmarks.measuring import Answer, Job, Stopwatch, body


class Connection(asyncio.Protocol):
    """One connection, which has one request under way at a time."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and hand out a response that is complete."""
        self._parser.feed_data(data)
        if self._response.is_complete and self._answered is not None:
            self._answered.set_result(self._response.body)
            self._answered = None

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        if self._answered is not None:
            self._answered.set_exception(error or EOFError())

    def request(self, data: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future is the response's body."""
        self._response = Response()
        self._parser = httptools.HttpResponseParser(self._response)
        self._answered = answered = self._loop.create_future()
        self._transport.write(data)
        return answered

    def close(self) -> None:
        """Close it."""
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

    await work(job, watch, call)
    for connection in idle:
        connection.close()
