"""A worker process of a bulk run: ``python -m headrace.bulk.worker FD``.

FD is a socket to the main process of the run. The worker ends when that socket closes, so a killed run leaves
no process behind. It writes no file: only the main process has the journal.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence, Set
from typing import Any, Self

import anyio
import attrs
import msgspec

from headrace.bulk.cancelled_rows import cancelled
from headrace.bulk.file_limit import raise_file_limit
from headrace.bulk.gc_tuning import reduced_gc
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.line_encoding import encodable
from headrace.bulk.policy_limits import set_policy_limit
from headrace.bulk.unfinished_calls import UnfinishedCalls, unfinished_calls
from headrace.bulk.worker_protocol import (
    FrameStream,
    WorkerFrame,
    WorkerItem,
    WorkerOrder,
    WorkerReport,
    WorkerSetup,
    frame_stream,
)
from headrace.calls import Event, Outcome
from headrace.client import Client
from headrace.client.map import OutcomeStream
from headrace.errors import HeadraceError
from headrace.wire.structured_output import ResponseFormat, response_format_for

_SEND_INTERVAL = 0.002
"""Seconds between two frames. Waking the main process for each result would cost it three times as much."""


def main() -> None:
    """Work until the socket closes."""
    # Ctrl-C goes to all processes of a terminal; only the main process decides how the run stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raw_socket = socket.socket(fileno=int(sys.argv[1]))
    setup = _first_frame(raw_socket)
    raise_file_limit(setup.in_flight)
    options = {"use_uvloop": setup.use_uvloop} if setup.backend == "asyncio" else {}
    anyio.run(work, raw_socket, setup, backend=setup.backend, backend_options=options)


def _first_frame(raw_socket: socket.socket) -> WorkerSetup:
    """The setup. It is read before an event loop runs, because it names the event loop."""
    raw_socket.setblocking(True)
    with raw_socket.dup().makefile("rb", buffering=0) as file:
        size = int.from_bytes(_exactly(file, 4))
        return msgspec.msgpack.decode(_exactly(file, size), type=WorkerSetup)


def _exactly(file: socket.SocketIO, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = file.read(size - len(received))
        if not more:
            raise SystemExit("a worker is started by headrace run --processes; its main process is gone")
        received += more
    return received


@attrs.define
class _EventRecorder:
    """An observer that records the events that the progress bar shows, with all data as strings."""

    name: str = "worker"
    events: list[tuple[str, dict[str, str]]] = attrs.field(factory=list)

    def notify(self, event: Event) -> None:
        if event.name in {"retry", "circuit"}:
            data = {encodable(str(name)): encodable(str(value)) for name, value in event.data.items()}
            self.events.append((event.name, data))


async def work(raw_socket: socket.socket, setup: WorkerSetup) -> None:
    """Make the client, then make the calls of the received items."""
    frames: FrameStream[WorkerFrame] = await frame_stream(raw_socket, WorkerFrame)
    recorder = _EventRecorder()
    try:
        client, answers = _client(setup), [_answer(pickle.loads(each)) for each in setup.answers]
        client.observe(recorder)
    except Exception as error:
        failure = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        await frames.send(WorkerReport(failure=failure))
        return
    fail_on = frozenset(setup.fail_on)
    inbox, outbox = _Inbox(answers), _Outbox(frames, recorder, client)
    async with client, anyio.create_task_group() as group:

        def finish(outcome: Outcome) -> None:
            item: WorkerItem = outcome.item
            choices = setup.choices[item.step]
            result = item_result(item.index, item.id, outcome, choices, fail_on, item.digest)
            outbox.results.append(result)
            outbox.notify()

        client.limiter.total_tokens = setup.in_flight
        calls = client.map(inbox)
        orders = _Orders(client, inbox, calls, finish, outbox)
        group.start_soon(_receive, frames, inbox, orders, group.cancel_scope)
        group.start_soon(outbox.send)
        with reduced_gc():
            await calls.each(finish)


class _Inbox:
    """Received items that were not drawn yet; an async iterator that never ends.

    Args:
        answers: The type of the answers of each step.
    """

    def __init__(self, answers: Sequence[ResponseFormat | None]) -> None:
        self._answers = answers
        self._items: deque[WorkerItem] = deque()
        self._added = anyio.Event()

    def put(self, items: list[WorkerItem]) -> None:
        self._items.extend(items)
        self._added.set()

    def remove(self, indexes: Set[int]) -> list[WorkerItem]:
        """Remove the items with these indexes that were not drawn, and return them."""
        removed = [item for item in self._items if item.index in indexes]
        for item in removed:
            self._items.remove(item)
        return removed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WorkerItem:
        while not self._items:
            self._added = anyio.Event()
            await self._added.wait()
        item = self._items.popleft()
        item.answer = self._answers[item.step]
        return item


class _Outbox:
    """Results for the main process. Many are sent in one frame, because each frame wakes that process."""

    def __init__(self, frames: FrameStream[WorkerFrame], recorder: _EventRecorder, client: Client) -> None:
        self._frames = frames
        self._client = client
        self._recorder = recorder
        self._changed = anyio.Event()
        self.results: list[ItemResult] = []
        self.unfinished: UnfinishedCalls | None = None

    def notify(self) -> None:
        """Request a report with the results so far."""
        self._changed.set()

    async def send(self) -> None:
        """Send reports, at most once every `_SEND_INTERVAL` seconds."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            results, self.results = self.results, []
            events, self._recorder.events = self._recorder.events, []
            unfinished, self.unfinished = self.unfinished, None
            in_flight = self._client.in_flight
            await self._frames.send(WorkerReport(results, events, in_flight, unfinished=unfinished))
            await anyio.sleep(_SEND_INTERVAL)


def _answer(kind: Any) -> ResponseFormat | None:
    return None if kind is None else response_format_for(kind)


def _client(setup: WorkerSetup) -> Client:
    sys.path += [folder for folder in setup.path if folder not in sys.path]
    client = pickle.loads(setup.make_client)()
    if not isinstance(client, Client):
        raise TypeError(f"make_client returned {client!r}, which is not a headrace.Client")
    return client


async def _receive(
    frames: FrameStream[WorkerFrame], inbox: _Inbox, orders: _Orders, worker: anyio.CancelScope
) -> None:
    while (frame := await frames.receive()) is not None:
        if isinstance(frame, list):
            inbox.put(frame)
        else:
            await orders.carry_out(frame)
    worker.cancel()


@attrs.frozen
class _Orders:
    """Carries out the orders of the main process."""

    client: Client
    inbox: _Inbox
    calls: OutcomeStream[Any]
    finish: Callable[[Outcome], None]
    outbox: _Outbox

    async def carry_out(self, order: WorkerOrder) -> None:
        if order.in_flight is not None:
            raise_file_limit(order.in_flight)
            self.client.limiter.total_tokens = order.in_flight
        if order.limit is not None:
            set_policy_limit(self.client.policies, *order.limit)
        if order.cancel:
            indexes = set(order.cancel)
            for item in self.inbox.remove(indexes):
                self.finish(Outcome(item.index, None, None, cancelled(), item=item))
            await self.calls.cancel(lambda item: item.index in indexes)
        if order.report_unfinished:
            self.outbox.unfinished = unfinished_calls(self.client)
            self.outbox.notify()


if __name__ == "__main__":
    main()
