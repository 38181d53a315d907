"""The tokens that a call holds: borrowed for an attempt, and returned while the call waits."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import anyio
from anyio import CapacityLimiter, WouldBlock

from headrace._support.units import format_count
from headrace.errors import CallTimeout
from headrace.limiters import PriorityCapacityLimiter

Limiter: TypeAlias = PriorityCapacityLimiter | CapacityLimiter


class MapOfCall(Protocol):
    """The map of a call; it makes other calls while this one waits."""

    def call_waits(self) -> None: ...
    def call_resumes(self) -> None: ...
    def call_lacks_connection(self) -> None: ...
    def call_lacks_no_connection(self, *, cancelled: bool) -> None: ...


class TokenHolder:
    """The part of a `headrace.Call` that manages tokens; see there for the attributes.

    They stay class attributes until they are set, so that they do not slow down making a call.
    """

    priority: int
    started: float
    now: Callable[[], float]
    queued: float = 0.0
    resumed: float = 0.0
    is_waiting: bool = False
    on_resume: tuple[Callable[[Any], None], ...] = ()
    queue_timeout: float | None = None
    _held: tuple[Limiter, ...] = ()
    _to_reacquire: tuple[Limiter, ...] = ()
    _map: MapOfCall | None = None
    _map_limiter: Limiter | None = None


def try_acquire(limiter: Limiter, call: TokenHolder) -> bool:
    """Borrow a token for a call if one is free; returns whether one was."""
    if isinstance(limiter, PriorityCapacityLimiter):
        return limiter.try_acquire(call)
    try:
        limiter.acquire_on_behalf_of_nowait(call)
    except WouldBlock:
        return False
    return True


async def acquire_all(call: TokenHolder, limiters: tuple[Limiter, ...]) -> None:
    """Borrow a token of each limiter; the time that this takes counts as ``queued``."""
    began: float | None = None
    try:
        for limiter in limiters:
            if not try_acquire(limiter, call):
                began = call.now() if began is None else began
                await _wait_in_time(limiter, call)
            call._held += (limiter,)
    except BaseException:
        release_all(call)
        raise
    finally:
        if began is not None:
            waited = call.now() - began
            call.queued += waited
            call.started += waited


def release_all(call: TokenHolder) -> None:
    """Return all tokens that a call holds."""
    held, call._held, call._to_reacquire = call._held, (), ()
    for limiter in held:
        limiter.release_on_behalf_of(call)


async def acquire(call: TokenHolder, limiter: Limiter) -> None:
    """See `headrace.Call.acquire`.

    All calls acquire their tokens in the same order, from the innermost policy's to the client's, to prevent
    a deadlock.
    """
    if try_acquire(limiter, call):
        call._held = (limiter, *call._held)
        return
    async with Waiting(call):
        await _wait_for_token(limiter, call)
        # Before the block ends: if it cannot reacquire the other tokens, it returns this one too.
        call._held += (limiter,)


def release(call: TokenHolder, limiter: Limiter) -> None:
    """See `headrace.Call.release`."""
    call._to_reacquire = _without(call._to_reacquire, limiter)
    if limiter in call._held:
        call._held = _without(call._held, limiter)
        limiter.release_on_behalf_of(call)


class Waiting:
    """See `headrace.Call.waiting`."""

    __slots__ = ("_call", "_held", "_outermost")

    def __init__(self, call: TokenHolder) -> None:
        self._call = call

    async def __aenter__(self) -> None:
        call = self._call
        self._outermost = not call.is_waiting
        self._held = call._held
        release_all(call)
        if self._outermost:
            call.is_waiting = True
            if call._map is not None:
                call._map.call_waits()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call = self._call
        if self._outermost and call._map is not None:
            call._map.call_resumes()
        try:
            if self._held:
                if error is None:
                    await acquire_all(call, self._held)
                else:  # usually no attempt follows; if one does, it reacquires them
                    call._to_reacquire = self._held
        finally:
            if self._outermost:
                call.is_waiting = False
        call.resumed = call.now()
        if error is None and self._outermost:
            for callback in call.on_resume:
                callback(call)


class LackingConnection:
    """A block in which a call waits because this machine has no connection left.

    The call keeps its tokens, and its map begins no further calls: they would only need memory.
    """

    __slots__ = ("_map",)

    def __init__(self, call: TokenHolder) -> None:
        self._map = call._map

    def __enter__(self) -> None:
        if self._map is not None:
            self._map.call_lacks_connection()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._map is not None:
            self._map.call_lacks_no_connection(cancelled=kind is not None and not issubclass(kind, Exception))


async def _wait_in_time(limiter: Limiter, call: TokenHolder) -> None:
    if call.queue_timeout is None:
        await _wait_for_token(limiter, call)
        return
    with anyio.CancelScope(deadline=call.now() + call.queue_timeout):
        await _wait_for_token(limiter, call)
        return
    error = CallTimeout(
        f"{format_count(limiter.borrowed_tokens, 'request')} in flight for {call.queue_timeout:g} s; "
        "raise max_in_flight=",
        "queue",
    )
    error.retryable = False
    raise error


async def _wait_for_token(limiter: Limiter, call: TokenHolder) -> None:
    if isinstance(limiter, PriorityCapacityLimiter):
        await limiter.wait_on_behalf_of(call, call.priority)
    else:
        await limiter.acquire_on_behalf_of(call)


def _without(limiters: tuple[Limiter, ...], limiter: Limiter) -> tuple[Limiter, ...]:
    return tuple([each for each in limiters if each is not limiter])
