"""A file server on loopback, over http or https, with and without ranges, that can fail."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs


@attrs.define
class FileServer:
    """What a server serves.

    Attributes:
        files: The contents by path.
        url: The URL of the server, without a slash at its end.
        ranges: Whether it serves parts of a file.
        status: The status of all answers, if they are errors.
        before: Called with the first byte of each download; returns the status of an error, or None. If it
            returns 0, the connection is cut after half of the content.
        authorization: The header that a request must have; None for any.
        downloads: The first byte and the number of bytes of each download that was answered.
    """

    files: dict[str, bytes] = attrs.field(factory=dict)
    url: str = ""
    ranges: bool = True
    status: int | None = None
    before: Callable[[int], int | None] = lambda begin: None
    authorization: str | None = None
    downloads: list[tuple[int, int]] = attrs.field(factory=list)

    @property
    def downloaded(self) -> int:
        """The bytes of all downloads."""
        return sum(size for _, size in self.downloads)


@contextmanager
def file_server(context: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """Serve files as long as the block runs; with a context, over https."""
    served = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            content = served.files.get(self.path.partition("?")[0])
            if served.status is not None:
                self._fail(served.status)
            elif served.authorization not in (None, self.headers["authorization"]):
                self._fail(401)
            elif content is None:
                self._fail(404)
            else:
                self._send(content, with_content=with_content)

        def _fail(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes, *, with_content: bool) -> None:
            etag, size, begin = f'"{hash(content)}"', len(content), 0
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["range"] or "")
            if found and served.ranges:
                begin = int(found[1])
                content = content[begin : int(found[2]) + 1]
            failure = served.before(begin) if with_content else None
            if failure:
                self._fail(failure)
                return
            self.send_response(206 if found and served.ranges else 200)
            if served.ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Range", f"bytes {begin}-{begin + len(content) - 1}/{size}")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", etag)
            self.end_headers()
            if with_content:
                served.downloads.append((begin, len(content)))
                self.wfile.write(content[: len(content) // 2] if failure == 0 else content)
                self.close_connection = self.close_connection or failure == 0

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        served.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
