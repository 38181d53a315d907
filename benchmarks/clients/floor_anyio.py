"""The lower bound over anyio's streams: llhttp and msgspec, without policies, timeouts or errors."""

from __future__ import annotations

import anyio
import anyio.abc
import httptools
import msgspec
from benchmarks.clients.http_messages import Response, head_of, origin_of
from benchmarks.clients.worker_tasks import run_workers
from benchmarks.measurement import Answer, Job, Stopwatch, body


async def run(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    idle = list[anyio.abc.SocketStream]()
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    head, (host, port) = head_of(job.url), origin_of(job.url)

    async def call(number: int) -> Answer:
        stream = idle.pop() if idle else await anyio.connect_tcp(host, port)
        sent, response = encode(body(number)), Response()
        parser = httptools.HttpResponseParser(response)
        await stream.send(b"%b%d\r\n\r\n%b" % (head, len(sent), sent))
        while not response.is_complete:
            parser.feed_data(await stream.receive())
        idle.append(stream)
        return Answer.of(decode(response.body))

    await run_workers(job, watch, call)
    for stream in idle:
        await stream.aclose()
