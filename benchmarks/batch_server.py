"""An endpoint with batches that costs nearly nothing: it swallows uploads, and answers rows it never kept.

    python benchmarks/batch_server.py PORT

Of an upload it counts the bytes and the lines, and notes the first ``custom_id``: the ids of a file must be
consecutive numbers of seven digits after a letter, as `benchmarks.rows_memory.generate` makes them. A batch
ends when it is looked at again, and no upload has come for two seconds: on an idle machine, all batches of a
run are then at the endpoint.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.nginx import ANSWER, free_port, stop

_QUIET = 2.0
"""Seconds without an upload after which batches end."""

_CHUNK = 1_000
"""Lines of a file with results that are made at once."""

_LINE = (
    '{"id":"batch_req_%s%07d","custom_id":"%s%07d","response":{"status_code":200,"request_id":"req-1","body":'
    + json.dumps(ANSWER).replace("%", "%%")
    + '},"error":null}\n'
)


class _Upload(NamedTuple):
    """What is kept of a file: its name, its lines, and its first ``custom_id``."""

    name: str
    lines: int
    letter: str
    first: int

    def results(self) -> Iterator[bytes]:
        """The lines of the file with the results."""
        letter, end = self.letter, self.first + self.lines
        for start in range(self.first, end, _CHUNK):
            numbers = range(start, min(start + _CHUNK, end))
            yield "".join([_LINE % (letter, number, letter, number) for number in numbers]).encode()


class _Endpoint:
    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._files: dict[str, _Upload] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self._last_upload = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        while head := await _next_head(reader):
            method, path = head.split(b" ", 2)[:2]
            if method == b"POST" and path.endswith(b"/files"):
                body = await self._swallow(reader, _length(head))
            else:
                content = await reader.readexactly(_length(head))
                file = re.search(rb"/files/(file-\d+)/content$", path)
                if file is not None:
                    await _send(writer, self._files[file[1].decode()])
                    continue
                body = self._answer(method, path.partition(b"?")[0], content)
            payload = json.dumps(body).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload))
            await writer.drain()
        writer.close()

    async def _swallow(self, reader: asyncio.StreamReader, length: int) -> dict[str, Any]:
        beginning, lines, last, name = b"", 0, b"", "file"
        while length:
            data = await reader.read(min(length, 1 << 20))
            if not data:
                raise ConnectionError("the client has gone")
            length -= len(data)
            if len(beginning) < 4096:
                beginning += data
            # The lines of the form end with CR LF, those of the file with LF.
            lines += data.count(b"\n") - (last + data).count(b"\r\n")
            last = data[-1:]
        if found := re.search(rb'filename="([^"]*)"', beginning):
            name = found[1].decode()
        first = re.search(rb'"custom_id":"(\w)(\d+)"', beginning)
        letter, number = (first[1].decode(), int(first[2])) if first else ("P", 0)
        id = f"file-{next(self._ids)}"
        self._files[id] = _Upload(name, lines, letter, number)
        self._last_upload = time.monotonic()
        return {"id": id, "object": "file", "filename": name, "purpose": "batch", **_FILE}

    def _answer(self, method: bytes, path: bytes, content: bytes) -> dict[str, Any]:
        name = path.rpartition(b"/")[2].decode()
        if method == b"POST" and name == "batches":
            made = json.loads(content)
            id = f"batch-{next(self._ids)}"
            self._batches[id] = {"id": id, "created_at": int(time.time()), **made}
            return self._shown(id, ended=False)
        if name in self._batches:
            ended = name in self._seen and time.monotonic() >= self._last_upload + _QUIET
            self._seen.add(name)
            return self._shown(name, ended=ended)
        return {"data": [], "has_more": False}

    def _shown(self, id: str, *, ended: bool) -> dict[str, Any]:
        batch = self._batches[id]
        if not ended:
            return batch | {"status": "in_progress"}
        lines = self._files[batch["input_file_id"]].lines
        return batch | {
            "status": "completed",
            "completed_at": batch["created_at"] + 1,
            "output_file_id": batch["input_file_id"],
            "request_counts": {"total": lines, "completed": lines, "failed": 0},
        }


_FILE = {"bytes": 0, "created_at": 0, "status": "processed"}
"""The rest of what the openai SDK reads of a file."""


async def _next_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


async def _send(writer: asyncio.StreamWriter, file: _Upload) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    for data in file.results():
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


@contextmanager
def run_batch_server() -> Iterator[str]:
    """Run the endpoint in its own process; yields its base URL."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, __file__, str(port)], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("the endpoint of the benchmark did not start")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            stop(process)


async def _serve(port: int) -> None:
    serve: Callable[..., Any] = _Endpoint().serve
    async with await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 20) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
