"""Runs an async function in virtual time, with the same result each time.

Virtual time is trio's `MockClock`, which jumps to the next deadline when all tasks wait. trio runs tasks that
are ready at the same time in random order, and has no public way to seed that. Its Hypothesis plugin uses a
private switch: with it, trio sorts the tasks by age before it shuffles them with a `random.Random` of the
module. Only this module uses the two private names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
import trio.testing
from trio._core import _run

from headrace._support.clock import on_asyncio
from headrace.errors import ClientStateError

T = TypeVar("T")


def run_in_virtual_time(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run ``main`` on trio from time 0 and return its result; raises `ClientStateError` in an event loop."""
    if on_asyncio() or trio.lowlevel.in_trio_run():
        raise ClientStateError("a simulation runs its own event loop; call it from code that is not async")
    with _deterministic_scheduling(seed):
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def _deterministic_scheduling(seed: int) -> Iterator[None]:
    before, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        _run._r.setstate(state)
