"""The server that all clients call: nginx, which answers from memory and waits without work of its own.

It needs Debian's nginx-light and libnginx-mod-http-echo. Where those are missing, the embedded endpoint takes
their place: good enough to see that a benchmark works, but it is Python, and slower than what is measured.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from anyio.from_thread import start_blocking_portal
from benchmarks.nginx import PIECES, Installed, answers_at, find_nginx, running

from headrace.testing.server import Behaviour, endpoint_process


class Server(NamedTuple):
    """What is called, its name with its version.

    ``origins``: where each latency in milliseconds is to be had; ``text``: what its streams say, None for
    the embedded endpoint, which says something else to each prompt; ``secure``: the origin over TLS, where it
    has one; ``certificates``: the file that its certificate can be verified with.
    """

    name: str
    origins: dict[int, str]
    text: str | None = None
    secure: str | None = None
    certificates: Path | None = None

    def base_url(self, way: str | int, *, tls: bool = False) -> str:
        """The base URL of a latency in milliseconds, or of ``stream`` or ``paced``."""
        if tls and isinstance(way, int):
            return f"{self.secure}{answers_at(way)}"
        if isinstance(way, int):
            return self.origins[way] + (answers_at(way) if self.text else "/v1")
        return f"{self.origins[0]}/{way}/v1" if self.text else f"{self.origins[0]}/v1"


@contextlib.contextmanager
def serving(latencies_ms: Sequence[int] = (0,), *, tls: bool = False) -> Iterator[Server]:
    """Run a server for the block, on free ports of the loopback; it stops on Ctrl-C and SIGTERM, too.

    ``tls``: over TLS as well, if it can.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        nginx = find_nginx()
        with embedded(latencies_ms) if nginx is None else from_nginx(nginx, latencies_ms, tls) as server:
            yield server
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def from_nginx(nginx: Installed, latencies_ms: Sequence[int], tls: bool) -> Iterator[Server]:
    """Run nginx, with a certificate of a certificate authority made for it if it is to speak TLS."""
    text = "".join(PIECES)
    if not tls:
        with running(nginx, latencies_ms) as ports:
            yield Server(nginx.version, plain(latencies_ms, ports.http), text)
        return
    import trustme

    with tempfile.TemporaryDirectory(prefix="headrace-tls-") as folder:
        authority, own, certificates = trustme.CA(), Path(folder, "own.pem"), Path(folder, "ca.pem")
        authority.cert_pem.write_to_path(certificates)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(own)
        with running(nginx, latencies_ms, own) as ports:
            secure = f"https://localhost:{ports.https}"
            yield Server(nginx.version, plain(latencies_ms, ports.http), text, secure, certificates)


def plain(latencies_ms: Sequence[int], port: int) -> dict[int, str]:
    """The one origin of nginx over plain http, which has all latencies."""
    return dict.fromkeys(latencies_ms, f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def embedded(latencies_ms: Sequence[int]) -> Iterator[Server]:
    """Run the embedded endpoint, a process for each latency."""
    print("nginx or its echo module is not installed: the embedded endpoint is called, and is the bottleneck")
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        origins = {}
        for latency in latencies_ms:
            endpoint = endpoint_process(Behaviour(latency=latency / 1000))
            url = stack.enter_context(portal.wrap_async_context_manager(endpoint)).base_url
            origins[latency] = url.removesuffix("/v1")
        yield Server("embedded endpoint", origins)
