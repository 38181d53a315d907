"""The server that all clients call: nginx, which answers from memory, after a latency.

It needs Debian's nginx-light and libnginx-mod-http-echo. If they are missing, the embedded endpoint is used.
That is enough to check that a benchmark works, but it is written in Python and slower than the clients.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from anyio.from_thread import start_blocking_portal
from benchmarks.nginx import CHUNKS, Installed, base_path, find_nginx, run_nginx

from headrace.testing.server import Behaviour, endpoint_process


class Server(NamedTuple):
    """A running server.

    Attributes:
        name: Its name and version.
        origins: The origin for each latency in milliseconds.
        text: The text of its streams. None: the embedded endpoint, with another text for each prompt.
        secure: The origin over TLS, if there is one.
        certificates: The file with the certificate authority.
    """

    name: str
    origins: dict[int, str]
    text: str | None = None
    secure: str | None = None
    certificates: Path | None = None

    def base_url(self, mode: str | int, *, tls: bool = False) -> str:
        """The base URL for a latency in milliseconds, or for ``stream`` or ``paced``."""
        if tls and isinstance(mode, int):
            return f"{self.secure}{base_path(mode)}"
        if isinstance(mode, int):
            return self.origins[mode] + (base_path(mode) if self.text else "/v1")
        return f"{self.origins[0]}/{mode}/v1" if self.text else f"{self.origins[0]}/v1"


@contextlib.contextmanager
def run_server(latencies_ms: Sequence[int] = (0,), *, tls: bool = False) -> Iterator[Server]:
    """Run a server on free ports of the loopback; it also stops on Ctrl-C and SIGTERM.

    ``tls``: also over TLS, if nginx is installed.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        nginx = find_nginx()
        with (
            run_embedded_endpoint(latencies_ms)
            if nginx is None
            else nginx_server(nginx, latencies_ms, tls) as server
        ):
            yield server
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def nginx_server(nginx: Installed, latencies_ms: Sequence[int], tls: bool) -> Iterator[Server]:
    """Run nginx; with ``tls``, it gets a certificate of a new certificate authority."""
    text = "".join(CHUNKS)
    if not tls:
        with run_nginx(nginx, latencies_ms) as ports:
            yield Server(nginx.version, plain(latencies_ms, ports.http), text)
        return
    import trustme

    with tempfile.TemporaryDirectory(prefix="headrace-tls-") as folder:
        authority, own, certificates = trustme.CA(), Path(folder, "own.pem"), Path(folder, "ca.pem")
        authority.cert_pem.write_to_path(certificates)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(own)
        with run_nginx(nginx, latencies_ms, own) as ports:
            secure = f"https://localhost:{ports.https}"
            yield Server(nginx.version, plain(latencies_ms, ports.http), text, secure, certificates)


def plain(latencies_ms: Sequence[int], port: int) -> dict[int, str]:
    """The origin of nginx over plain http, for all latencies."""
    return dict.fromkeys(latencies_ms, f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def run_embedded_endpoint(latencies_ms: Sequence[int]) -> Iterator[Server]:
    """Run one process of the embedded endpoint per latency."""
    print("nginx or its echo module is not installed: the embedded endpoint is used, and is the bottleneck")
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        origins = {}
        for latency in latencies_ms:
            endpoint = endpoint_process(Behaviour(latency=latency / 1000))
            url = stack.enter_context(portal.wrap_async_context_manager(endpoint)).base_url
            origins[latency] = url.removesuffix("/v1")
        yield Server("embedded endpoint", origins)
