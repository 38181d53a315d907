"""The timers of a poller: input that arrived in time comes first, and turns of the event loop stay short."""

from __future__ import annotations

import selectors
import socket

import anyio
import pytest

from headrace.transports.event_loops.poller import MAX_SOCKETS_PER_TURN, MAX_TIMERS_PER_TURN, Poller

pytestmark = pytest.mark.anyio

NUMBER = 300


class Handler:
    """A socket with a timer; records which came first."""

    def __init__(self, connection: socket.socket, events: list[str]) -> None:
        self.closed = False
        self.connection = connection
        self.events = events

    def on_readable(self) -> None:
        self.connection.recv(100)
        self.events.append("input")

    def on_writable(self) -> None:
        raise AssertionError

    def on_poller_closed(self) -> None:
        self.connection.close()

    def send_now(self, data: bytes) -> None:
        raise AssertionError

    def on_timer(self, now: float) -> None:
        self.events.append("timer")


@pytest.mark.skipif(
    not hasattr(selectors, "EpollSelector"), reason="other selectors cannot limit the number of ready sockets"
)
async def test_after_a_blocked_loop_input_comes_first_and_in_portions(poller: Poller) -> None:
    events: list[str] = []
    theirs = []
    for _ in range(NUMBER):
        ours, other = socket.socketpair()
        ours.setblocking(False)
        handler = Handler(ours, events)
        poller.register(ours, handler)
        poller.set_timer(poller.now() - 1, handler)
        other.sendall(b"answer")
        theirs.append(other)
    longest = before = 0
    while len(events) < 2 * NUMBER:
        poller.on_timer()
        longest, before = max(longest, len(events) - before), len(events)
    assert events == ["input"] * NUMBER + ["timer"] * NUMBER
    assert longest <= MAX_SOCKETS_PER_TURN + MAX_TIMERS_PER_TURN
    for other in theirs:
        other.close()


async def test_timers_of_a_busy_poller_are_not_late_for_ever(poller: Poller) -> None:
    """A socket has input in each turn."""
    events: list[str] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    handler = Handler(ours, events)
    poller.register(ours, handler)
    for _ in range(NUMBER):
        poller.set_timer(poller.now() - 1, handler)
    with theirs, anyio.fail_after(30):
        while events.count("timer") < NUMBER:
            theirs.sendall(b"more")
            await anyio.lowlevel.checkpoint()


async def test_the_loop_calls_until_all_timers_are_handled(poller: Poller) -> None:
    events: list[str] = []
    ours, theirs = socket.socketpair()
    handler = Handler(ours, events)
    with ours, theirs, anyio.fail_after(30):
        for _ in range(NUMBER):
            poller.set_timer(poller.now(), handler)
        while len(events) < NUMBER:
            await anyio.lowlevel.checkpoint()
    assert events == ["timer"] * NUMBER
