"""Runs the embedded endpoint in this process."""

import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from headrace.testing.server.app import create_app
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import Certificate

# For thousands of clients that connect at once; the kernel lowers it to its own limit.
_BACKLOG = 8192
_WANTED_FILES = 65_536


def serve(
    behaviour: Behaviour,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
    *,
    certificate: Certificate | None = None,
) -> None:
    """Run the embedded endpoint in this process until SIGINT or SIGTERM.

    Call it in the main thread: in other threads no signal stops it. It raises the process's soft limit of
    open files because each connection needs one.

    Args:
        behaviour: Latency, limits and faults.
        host: The address to listen on.
        port: The port to listen on. 0: a free one.
        ready: Called with the base URL, such as `http://127.0.0.1:8000/v1`, once connections are accepted.
        certificate: With a certificate, it serves HTTP/2 and HTTP/1.1 over TLS; otherwise plain HTTP/1.1.

    Raises:
        OSError: It cannot listen there; the port may be in use.
        SettingsError: The certificate cannot be used.
        ImportError: Its server is not installed: uvicorn comes with `headrace[cli]`, and hypercorn, for
            TLS, with `headrace[serve-tls]`.
    """
    # Imported when needed: only one of the two servers must be installed.
    if certificate is None:
        from headrace.testing.server.uvicorn_server import UvicornServer

        run = UvicornServer(create_app(behaviour), _BACKLOG).run
    else:
        from headrace.testing.server.hypercorn_server import HypercornServer

        run = HypercornServer(create_app(behaviour), _BACKLOG, certificate).run
    _raise_file_limit()
    with _listen(host, port) as listener:
        url = _base_url(listener, "http" if certificate is None else "https")
        # The socket listens already: clients that connect now wait in its backlog until the loop starts.
        run(listener, lambda: None if ready is None else ready(url))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":
                # Lets a restarted server reuse its port; on Windows it would let two servers share a port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "; port 0 takes a free one" if port else ""
        raise OSError(error.errno, f"cannot listen at {host} port {port}: {reason}{hint}") from None
    return listener


def _base_url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}/v1" if ":" in host else f"{scheme}://{host}:{port}/v1"


def _raise_file_limit() -> None:
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            # If the system refuses, the limit stays as it is.
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
