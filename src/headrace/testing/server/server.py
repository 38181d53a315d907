"""Runs the embedded endpoint in this process."""

import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from headrace.testing.server.app import create_app
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import Certificate

# Thousands of clients connect at once; the kernel lowers it to what it allows.
_BACKLOG = 8192
_FILES = 65_536


def serve(
    behaviour: Behaviour,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
    *,
    certificate: Certificate | None = None,
) -> None:
    """Run the endpoint until SIGINT or SIGTERM, then return.

    Call it in the main thread, or there is no signal to stop it. It raises the process's soft limit of open
    files, since each connection is one.

    Args:
        behaviour: how quick, how limited, how faulty.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        ready: called with the base URL, such as `http://127.0.0.1:8000/v1`, once connections are taken.
        certificate: with it the endpoint serves HTTP/2 and HTTP/1.1 over TLS, else HTTP/1.1 in plain.

    Raises:
        OSError: it cannot listen there; the port may be in use.
        SettingsError: the certificate cannot be used.
        ImportError: the server it runs on is not installed: uvicorn comes with `headrace[cli]`, hypercorn,
            for TLS, with `headrace[serve-tls]`.
    """
    # Imported when chosen: neither needs the other to be installed.
    if certificate is None:
        from headrace.testing.server.on_uvicorn import OnUvicorn

        run = OnUvicorn(create_app(behaviour), _BACKLOG).run
    else:
        from headrace.testing.server.on_hypercorn import OnHypercorn

        run = OnHypercorn(create_app(behaviour), _BACKLOG, certificate).run
    _allow_many_files()
    with _listen(host, port) as listener:
        url = _base_url(listener, "http" if certificate is None else "https")
        # The socket listens: clients that connect now wait in its queue for the loop to start.
        run(listener, lambda: None if ready is None else ready(url))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":
                # Elsewhere it lets a restart have its port back; on Windows it lets two share one.
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


def _allow_many_files() -> None:
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            # Where the system refuses, the limit as it is has to do.
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
