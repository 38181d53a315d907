"""Compiles policies into one function; each attempt takes its token between PERSIST and PROTECT."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from headrace._support.interrupts import uninterrupted
from headrace.calls import Call, Event
from headrace.errors import HeadraceError, PluginError, PolicyError
from headrace.limiter_tokens import Limiter, acquire_all, release_all, try_acquire
from headrace.limiters import PriorityCapacityLimiter
from headrace.policies import Observer, Policy, Send, Stage
from headrace.replies import Reply

_log = logging.getLogger("headrace")

_FIRST_PARTY = frozenset(
    f"headrace_{name}"
    for name in "adaptive breaker cache cost hedge logging otel pace redis repair retry route".split()
)
"""Packages whose policies are known to return replies. Checking that costs 0.12 µs per policy and call."""


def compile_chain(
    policies: Sequence[Policy], send: Send, limiter: Limiter, check_open: Callable[[], None]
) -> Send:
    """Wrap ordered policies around ``send``, which makes an attempt.

    The order, from outside: policies up to PERSIST, which may repeat an attempt; the token of an attempt; all
    ``wrap_attempt``; policies from PROTECT on.

    Args:
        policies: Outermost first.
        send: Makes an attempt.
        limiter: Gives each attempt its token.
        check_open: Raises an error if the client was closed while an attempt waited for its token.
    """
    repeating = [policy for policy in policies if policy.stage <= Stage.PERSIST]
    for policy in reversed(policies[len(repeating) :]):
        send = _wrapped(policy, "wrap", send)
    for policy in reversed(policies):
        if hasattr(policy, "wrap_attempt"):
            send = _wrapped(policy, "wrap_attempt", send)
    send = with_token(limiter, send, check_open)
    for policy in reversed(repeating):
        send = _wrapped(policy, "wrap", send)
    return send


def with_token(limiter: Limiter, send: Send, check_open: Callable[[], None]) -> Send:
    """``send`` with a token of ``limiter``, and one of the map's limiter if the call has one.

    A stream holds its tokens until it has ended.
    """
    single = (limiter,)
    release = limiter.release_on_behalf_of
    acquire_at_once = (
        limiter.try_acquire if isinstance(limiter, PriorityCapacityLimiter) else partial(try_acquire, limiter)
    )

    @uninterrupted  # also in a task started by a policy, which inherits no protection
    async def attempt(call: Call) -> Reply:
        if call._held:  # tokens of a stream that a policy has dropped without ending it
            release_all(call)
        try:
            if call._map_limiter is None and acquire_at_once(call):
                call._held = single
            else:
                await acquire_all(call, single if call._map_limiter is None else (call._map_limiter, limiter))
                check_open()
            reply = await send(call)
        except BaseException:
            release_all(call)
            raise
        if call.streamed:
            call.add_done_callback(lambda result: release_all(call))
        elif call._held is single:  # nearly always
            call._held = ()
            release(call)
        else:
            release_all(call)
        return reply

    return attempt


def _wrapped(policy: Policy, method: str, send: Send) -> Send:
    try:
        wrapped: Send = getattr(policy, method)(send)
    except HeadraceError:
        raise
    except Exception as error:
        raise PluginError(
            f"policy {policy.name!r}: {method} raised {type(error).__name__}: {error}"
        ) from error
    if not callable(wrapped):
        raise PluginError(f"policy {policy.name!r}: {method} returned {wrapped!r}, which cannot be called")
    if wrapped is send or type(policy).__module__.partition(".")[0] in _FIRST_PARTY:
        return wrapped
    return _returning_replies(policy, wrapped)


def _returning_replies(policy: Policy, send: Send) -> Send:
    """``send`` with a check of its result, so that errors name this policy and not the next outer one."""

    async def check(call: Call) -> Reply:
        reply = await send(call)
        if not isinstance(reply, Reply):
            raise PolicyError(f"policy {policy.name!r} returned {reply!r}, which is not a Reply")
        return reply

    return check


def compile_observers(observers: Iterable[Observer]) -> Callable[[Event], None] | None:
    """One function that notifies all observers; None without observers.

    An observer that raises an error is named in the log and gets no more events, so that it cannot make calls
    fail.
    """
    active = list(observers)
    if not active:
        return None

    def notify(event: Event) -> None:
        for observer in tuple(active):
            try:
                observer.notify(event)
            except Exception:
                active[:] = [other for other in active if other is not observer]
                _log.exception("observer %r raised an error and gets no more events", observer.name)

    return notify
