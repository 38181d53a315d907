"""A worker process of a bulk run: ``python -m headrace.bulk.worker FD``, FD a socket to the run's process.

It ends when that socket does, so that nothing is left of a run that was killed. It writes no file: only the
run's own process has the journal.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
from collections import deque
from typing import Self

import anyio
import attrs
import msgspec

from headrace.bulk.frames import Frames, Report, Setup, Work, frames_over
from headrace.bulk.garbage import collecting_less
from headrace.bulk.hanging import Unfinished, unfinished
from headrace.bulk.open_files import allow_files
from headrace.bulk.records import encodable
from headrace.bulk.result import Result, result_of
from headrace.calls import Event, Outcome
from headrace.client import Client
from headrace.errors import HeadraceError

_GATHER = 0.002
"""Seconds in which results gather before they are sent."""


def main() -> None:
    """Work until the socket ends."""
    # Ctrl-C goes to all processes of a terminal; what is to become of the run is decided in the one above.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raw_socket = socket.socket(fileno=int(sys.argv[1]))
    setup = _first_frame(raw_socket)
    allow_files(setup.in_flight)
    options = {"use_uvloop": setup.use_uvloop} if setup.backend == "asyncio" else {}
    anyio.run(work, raw_socket, setup, backend=setup.backend, backend_options=options)


def _first_frame(raw_socket: socket.socket) -> Setup:
    """The setup, which says on which event loop the rest is to be received."""
    raw_socket.setblocking(True)
    with raw_socket.dup().makefile("rb", buffering=0) as file:
        size = int.from_bytes(_exactly(file, 4))
        return msgspec.msgpack.decode(_exactly(file, size), type=Setup)


def _exactly(file: socket.SocketIO, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = file.read(size - len(received))
        if not more:
            raise SystemExit("this is started by headrace run --processes, and has nobody to talk to")
        received += more
    return received


@attrs.define
class _Events:
    """An observer that remembers what the bar is to know, as strings: any policy may tell anything."""

    name: str = "worker"
    told: list[tuple[str, dict[str, str]]] = attrs.field(factory=list)

    def notify(self, event: Event) -> None:
        if event.name in {"retry", "circuit"}:
            data = {encodable(str(name)): encodable(str(value)) for name, value in event.data.items()}
            self.told.append((event.name, data))


async def work(raw_socket: socket.socket, setup: Setup) -> None:
    """Make the client, and the calls that come."""
    frames: Frames[list[Work]] = await frames_over(raw_socket, list[Work])
    events = _Events()
    try:
        client, answer = _client(setup), pickle.loads(setup.answer)
        client.observe(events)
    except Exception as error:
        said = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        await frames.send(Report(failure=said))
        return
    inbox, outbox = _Inbox(), _Outbox(frames, events)
    async with client, anyio.create_task_group() as group:
        group.start_soon(_receive, frames, inbox, outbox, client, group.cancel_scope)
        group.start_soon(outbox.send)

        def finish(outcome: Outcome) -> None:
            item: Work = outcome.item
            outbox.results.append(result_of(item.index, item.id, outcome, setup.choices))
            outbox.tell(client.in_flight)

        client.limiter.total_tokens = setup.in_flight
        with collecting_less():
            await client.map(inbox, answer=answer).each(finish)


class _Inbox:
    """The items that came and are not drawn yet; an async iterator that never ends."""

    def __init__(self) -> None:
        self._items: deque[Work] = deque()
        self._came = anyio.Event()

    def put(self, items: list[Work]) -> None:
        self._items.extend(items)
        self._came.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Work:
        while not self._items:
            self._came = anyio.Event()
            await self._came.wait()
        return self._items.popleft()


class _Outbox:
    """Results on their way to the run's process, many in a frame: each frame wakes it."""

    def __init__(self, frames: Frames[list[Work]], events: _Events) -> None:
        self._frames = frames
        self._events = events
        self._news = anyio.Event()
        self._in_flight = 0
        self.results: list[Result] = []
        self.unfinished: Unfinished | None = None

    def tell(self, in_flight: int) -> None:
        """There is something to be sent."""
        self._in_flight = in_flight
        self._news.set()

    async def send(self) -> None:
        """Send what there is, but not more often than every `_GATHER` seconds."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            results, self.results = self.results, []
            told, self._events.told = self._events.told, []
            unfinished, self.unfinished = self.unfinished, None
            await self._frames.send(Report(results, told, self._in_flight, unfinished=unfinished))
            await anyio.sleep(_GATHER)


def _client(setup: Setup) -> Client:
    sys.path += [folder for folder in setup.path if folder not in sys.path]
    client = pickle.loads(setup.make_client)()
    if not isinstance(client, Client):
        raise TypeError(f"{client!r} was made, which is no headrace.Client")
    return client


async def _receive(
    frames: Frames[list[Work]], inbox: _Inbox, outbox: _Outbox, client: Client, whole: anyio.CancelScope
) -> None:
    while (items := await frames.receive()) is not None:
        if items:
            inbox.put(items)
        else:  # the run stops, and asks what is waited for
            outbox.unfinished = unfinished(client)
            outbox.tell(client.in_flight)
    whole.cancel()


if __name__ == "__main__":
    main()
