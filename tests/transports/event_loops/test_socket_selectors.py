"""Which handlers a selector calls, and for what; the same on every system."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

import pytest

from headrace.transports.event_loops.socket_selectors import EpollSelector, SocketSelector, StdlibSelector

on_linux = pytest.mark.skipif(not hasattr(select, "epoll"), reason="only Linux has it")
BOTH = EVENT_READ | EVENT_WRITE


class RecordingHandler:
    """Records what is called."""

    def __init__(self, on_read: Callable[[], None] = lambda: None) -> None:
        self.events_seen: list[str] = []
        self.closed = False
        self._on_read = on_read

    def on_readable(self) -> None:
        self.events_seen.append("read")
        self._on_read()

    def on_writable(self) -> None:
        self.events_seen.append("write")


@pytest.fixture(params=[StdlibSelector, pytest.param(EpollSelector, marks=on_linux)])
def selector(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: SocketSelector = request.param()
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:

        def pair() -> tuple[socket.socket, socket.socket]:
            ours, theirs = socket.socketpair()
            return stack.enter_context(ours), stack.enter_context(theirs)

        yield pair


@pytest.mark.parametrize(
    ("events", "sent", "events_seen"),
    [
        (EVENT_READ, b"", []),
        (EVENT_READ, b"x", ["read"]),
        (EVENT_WRITE, b"x", ["write"]),
        (BOTH, b"", ["write"]),
        (BOTH, b"x", ["read", "write"]),
    ],
)
def test_a_handler_is_called_for_the_events_it_watches(
    selector: Any, pairs: Any, events: int, sent: bytes, events_seen: list[str]
) -> None:
    ours, theirs = pairs()
    handler = RecordingHandler()
    selector.add(ours, EVENT_READ, handler)
    selector.modify(ours, events, handler)
    theirs.send(sent)
    selector.serve(100)
    assert handler.events_seen == events_seen


@pytest.mark.parametrize(("events", "events_seen"), [(EVENT_READ, ["read"]), (EVENT_WRITE, ["write"])])
def test_a_hang_up_is_reported_for_watched_events_only(
    selector: Any, pairs: Any, events: int, events_seen: list[str]
) -> None:
    ours, theirs = pairs()
    handler = RecordingHandler()
    selector.add(ours, events, handler)
    theirs.close()
    selector.serve(100)
    assert handler.events_seen == events_seen


def test_a_handler_closed_by_another_is_not_called(selector: Any, pairs: Any) -> None:
    (one, at_one), (other, at_other) = pairs(), pairs()

    def close_the_rest() -> None:
        for raw_socket, handler in ((one, first), (other, second)):
            if not handler.events_seen:
                selector.remove(raw_socket)
                handler.closed = True
                raw_socket.close()

    first, second = RecordingHandler(close_the_rest), RecordingHandler(close_the_rest)
    selector.add(one, EVENT_READ, first)
    selector.add(other, EVENT_READ, second)
    at_one.send(b"x")
    at_other.send(b"x")
    selector.serve(100)
    assert sorted([first.events_seen, second.events_seen]) == [[], ["read"]]


def test_handlers_are_listed_until_they_are_removed(selector: Any, pairs: Any) -> None:
    ours, theirs = pairs()
    handler = RecordingHandler()
    selector.add(ours, EVENT_READ, handler)
    assert selector.handlers() == [handler]
    selector.remove(ours)
    theirs.send(b"x")
    selector.serve(100)
    assert not selector.handlers()
    assert not handler.events_seen


@on_linux
def test_all_ready_handlers_are_called_a_few_at_a_time(pairs: Any) -> None:
    selector = EpollSelector()
    many = [RecordingHandler() for _ in range(10)]
    held = []
    for handler in many:
        ours, theirs = pairs()
        held.append((ours, theirs))
        selector.add(ours, EVENT_READ, handler)  # type: ignore[arg-type]  # it has what the selector needs
        theirs.send(b"x")
    for turn in range(1, 6):
        selector.serve(2)
        assert sum(map(len, (each.events_seen for each in many))) == 2 * turn
    assert [each.events_seen for each in many] == [["read"]] * 10
    selector.serve(100)
    assert [each.events_seen for each in many] == [["read"] * 2] * 10
    selector.close()
