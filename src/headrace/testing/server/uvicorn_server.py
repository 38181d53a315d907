"""The embedded endpoint on uvicorn: plain HTTP/1.1."""

import logging
import signal
import socket
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from headrace.testing.server.app import EndpointApp
from headrace.testing.server.plan_sending import ConnectionCut

if TYPE_CHECKING:
    import uvicorn

_KEEP_ALIVE = 600
# Seconds for requests in flight when the server stops. They are simulated, so they need not be finished.
_GRACE = 1


class UvicornServer:
    """A server for an endpoint. Raises `ImportError` if uvicorn is not installed."""

    def __init__(self, app: EndpointApp, backlog: int) -> None:
        try:
            import uvicorn
        except ImportError as error:
            raise ImportError("the embedded endpoint runs on uvicorn: pip install 'headrace[cli]'") from error
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=backlog,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        config.load()
        self._server = uvicorn.Server(config)

    def run(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; ``ready`` is called once these signals are handled."""
        with _stopped_by_signals(self._server), _without_planned_failures():
            ready()
            self._server.run(sockets=[listener])


@contextmanager
def _stopped_by_signals(server: "uvicorn.Server") -> Iterator[None]:
    # uvicorn handles signals only while its loop runs, and then raises them again for earlier handlers.
    # Those would be the default ones, which kill the process after a clean stop.
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
    """Keep planned failures out of uvicorn's log: cut connections, and requests dropped at the end."""

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
