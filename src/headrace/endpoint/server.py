"""Runs the embedded endpoint on uvicorn, in this process."""

import logging
import signal
import socket
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from headrace.endpoint.app import ConnectionCut, create_app
from headrace.endpoint.behaviour import Behaviour

if TYPE_CHECKING:
    import uvicorn

# Thousands of clients connect at once; the kernel lowers it to what it allows.
_BACKLOG = 8192
_FILES = 65_536
_KEEP_ALIVE = 600
# Seconds for requests under way when the server is told to stop. They are simulated: nobody misses them.
_GRACE = 1


def serve(
    behaviour: Behaviour,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the endpoint until SIGINT or SIGTERM, then return.

    Call it in the main thread, or there is no signal to stop it. It raises the process's soft limit of open
    files, since each connection is one.

    Args:
        behaviour: how quick, how limited, how faulty.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        ready: called with the base URL, such as `http://127.0.0.1:8000/v1`, once connections are taken.

    Raises:
        OSError: it cannot listen there; the port may be in use.
        ImportError: uvicorn is not installed; it comes with `headrace[cli]`.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("the embedded endpoint runs on uvicorn: pip install 'headrace[cli]'") from error
    config = uvicorn.Config(
        create_app(behaviour),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    config.load()
    server = uvicorn.Server(config)
    _allow_many_files()
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        stack.enter_context(_stopped_by_signals(server))
        stack.enter_context(_without_planned_failures())
        if ready is not None:
            # The socket listens: whoever connects now waits in its queue for the loop to start.
            ready(_base_url(listener))
        server.run(sockets=[listener])


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


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


@contextmanager
def _stopped_by_signals(server: "uvicorn.Server") -> Iterator[None]:
    # uvicorn handles signals only while its loop runs, and raises them again afterwards for whoever was there
    # before: without these handlers that would be the default, and the process would die of a clean stop.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _without_planned_failures() -> Iterator[None]:
    """Keeps out of uvicorn's log what is meant to happen: connections cut, requests dropped at the end."""

    def unplanned(record: logging.LogRecord) -> bool:
        dropped = str(record.msg).startswith("Cancel ")
        return not dropped and not (
            record.exc_info and isinstance(record.exc_info[1], ConnectionCut | CancelledError)
        )

    log = logging.getLogger("uvicorn.error")
    log.addFilter(unplanned)
    try:
        yield
    finally:
        log.removeFilter(unplanned)


def _allow_many_files() -> None:
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            # Where the system refuses, the limit as it is has to do.
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
