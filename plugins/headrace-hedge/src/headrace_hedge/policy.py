"""The hedge policy: the async shell around `headrace_hedge.decision`."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable
from typing import Any

import attrs

from headrace import Call, Reply, Send, SettingsError, Stage
from headrace_hedge.decision import Allowance, Kind, Latencies, kind_of
from headrace_hedge.race import Race
from headrace_hedge.stopwatch import NOTE, Stopwatch

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)")
_MOST_KINDS = 1000
"""So many models and paths have latencies of their own; calls of others are not hedged by a percentile."""


def _after(value: float | str | None) -> float | str | None:
    """Seconds, or a percentile; text that is a number or ``null`` comes from the environment."""
    if isinstance(value, str):
        if value == "null":
            return None
        if _PERCENTILE.fullmatch(value):
            return value
        try:
            return float(value)
        except ValueError:
            raise SettingsError(
                f"hedge: after={value!r}: must be seconds, or a percentile like 'p95'"
            ) from None
    return value


def _some_time(instance: Any, attribute: attrs.Attribute[Any], value: float | str | None) -> None:
    if isinstance(value, str):
        if _percent(value) == 0:
            raise SettingsError(f"hedge: after={value!r}: must be a percentile above p0")
    elif value is not None and not 0 < value < math.inf:
        raise SettingsError(f"hedge: after={value!r}: must be above 0")


def _percent(after: str) -> float:
    return float(after.removeprefix("p"))


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"hedge: {attribute.name}={value!r}: must be at least 1")


def _a_share(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value <= 1:
        raise SettingsError(f"hedge: {attribute.name}={value!r}: must be above 0 and at most 1")


@attrs.define(eq=False, kw_only=True)
class Hedge:
    """Sends a request again while the first is on the wire, and uses the reply that comes first.

    The requests that lose are cancelled; what they cost is not known, and is paid where the endpoint goes on
    with them. They go to other endpoints where the call has several. A request that fails while another is
    under way leaves it to that; where all fail, the first one's error is raised. Streams are not hedged, nor
    is anything but a GET and a POST that asks a model.

    Args:
        after: When to send another one: in seconds that the latest request has been on the wire, or as a
            percentile of these times so far, as "p95", for a model and path that has at least 100 of them
            (default None: never). The time in which a request waits, for a token, a retry or its turn, does
            not count; an extra one needs a token of its own.
        most: How many extra requests a call gets (default 1).
        share: At most so many extra requests for each call that is made (default 0.05).

    Attributes:
        sent: Extra requests so far.
        won: Those whose reply was used.

    Raises:
        SettingsError: A value is out of range.
    """

    name = "hedge"
    stage = Stage.PERSIST

    after: float | str | None = attrs.field(default=None, converter=_after, validator=_some_time)
    most: int = attrs.field(default=1, validator=_at_least_one)
    share: float = attrs.field(default=0.05, validator=_a_share)
    sent: int = attrs.field(default=0, init=False)
    won: int = attrs.field(default=0, init=False)
    _allowance: Allowance = attrs.field(init=False, repr=False)
    _latencies: dict[Kind, Latencies] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._allowance = Allowance(self.share)

    def wrap(self, send: Send) -> Send:
        """``send``, hedged; ``send`` itself where ``after`` is None."""
        after = self.after
        if after is None:
            return send

        def hedge(call: Call) -> Awaitable[Reply]:
            kind = None if call.streamed else kind_of(call.request)
            if kind is None:
                return send(call)
            self._allowance.called()
            if isinstance(after, str):
                return by_percentile(call, kind, _percent(after))
            return in_seconds(call, after)

        async def by_percentile(call: Call, kind: Kind, percent: float) -> Reply:
            latencies = self._latencies_of(kind)
            seconds = latencies.percentile(percent)
            if seconds is None:
                watch = Stopwatch(call)
                try:
                    reply = await send(call)
                finally:
                    watch.put_away()
            else:
                watch, reply = await race(call, seconds)
            if watch.began:
                # Of a hedged call from its first request on: above the percentile, so that it stays there.
                latencies.add(call.now() - watch.began)
            return reply

        async def in_seconds(call: Call, seconds: float) -> Reply:
            _, reply = await race(call, seconds)
            return reply

        async def race(call: Call, seconds: float) -> tuple[Stopwatch, Reply]:
            running = Race(send, call)
            try:
                reply = await running.run(seconds, self.most, self._allowance)
            finally:
                self.sent += running.sent
                running.watch.put_away()
            if running.won_by is not call:
                self.won += 1
                call.notify("hedge", state="won", endpoint=call.endpoint.name)
            return running.watch, reply

        return hedge

    def wrap_attempt(self, send: Send) -> Send:
        """``send``, watched: what counts is the time on the wire, not that in a queue."""
        if self.after is None:
            return send

        def watch(call: Call) -> Awaitable[Reply]:
            stopwatch: Stopwatch | None = call.notes.get(NOTE)
            return send(call) if stopwatch is None else stopwatch.attempt(send)

        return watch

    def _latencies_of(self, kind: Kind) -> Latencies:
        known = self._latencies.get(kind)
        if known is None:
            known = Latencies()
            if len(self._latencies) < _MOST_KINDS:
                self._latencies[kind] = known
        return known
