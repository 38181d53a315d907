"""The hedge policy: the async shell around `headrace_hedge.decision`."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable
from typing import Any

import attrs

from headrace import Call, Reply, Send, SettingsError, Stage
from headrace_hedge.decision import HedgeBudget, LatencyWindow, RequestKind, request_kind
from headrace_hedge.race import Race
from headrace_hedge.stopwatch import NOTE_KEY, Stopwatch

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)")
_MAX_KINDS = 1000
"""Kinds of requests whose latencies are remembered; calls of others are not hedged by a percentile."""


def _convert_after(value: float | str | None) -> float | str | None:
    """Seconds or a percentile; a number or ``null`` as text comes from the environment."""
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


def _validate_after(instance: Any, attribute: attrs.Attribute[Any], value: float | str | None) -> None:
    if isinstance(value, str):
        if _percent(value) == 0:
            raise SettingsError(f"hedge: after={value!r}: must be a percentile above p0")
    elif value is not None and not 0 < value < math.inf:
        raise SettingsError(f"hedge: after={value!r}: must be above 0")


def _percent(after: str) -> float:
    return float(after.removeprefix("p"))


def _validate_at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"hedge: {attribute.name}={value!r}: must be at least 1")


def _validate_share(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value <= 1:
        raise SettingsError(f"hedge: {attribute.name}={value!r}: must be above 0 and at most 1")


@attrs.define(eq=False, kw_only=True)
class Hedge:
    """Sends a slow request again, and uses the reply that comes first.

    The other requests are cancelled. The endpoint may finish them and charge for them; how much is not known.
    Extra requests go to other endpoints if the call has several, and each needs its own token. If a request
    fails while another is in flight, the call waits for the other; if all fail, the error of the first is
    raised. Only GETs and POSTs that ask a model are hedged; streams are not.

    Args:
        after: When to send another request: seconds that the latest request has been on the wire, or a
            percentile of these times as text, such as "p95" (default None: never). A percentile needs 100
            requests of the same model and path. The time in which a request waits for a token or a retry does
            not count.
        most: Extra requests per call (default 1).
        share: Extra requests as a share of the calls, above 0 up to 1 (default 0.05).

    Attributes:
        sent: Extra requests so far.
        won: Extra requests whose reply was used.

    Raises:
        SettingsError: A value is out of range.

    Example:
        >>> client = headrace.Client(policies=[Hedge(after=10.0)])
    """

    name = "hedge"
    stage = Stage.PERSIST

    after: float | str | None = attrs.field(default=None, converter=_convert_after, validator=_validate_after)
    most: int = attrs.field(default=1, validator=_validate_at_least_one)
    share: float = attrs.field(default=0.05, validator=_validate_share)
    sent: int = attrs.field(default=0, init=False)
    won: int = attrs.field(default=0, init=False)
    _budget: HedgeBudget = attrs.field(init=False, repr=False)
    _latencies: dict[RequestKind, LatencyWindow] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._budget = HedgeBudget(self.share)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with hedging; ``send`` itself if ``after`` is None."""
        after = self.after
        if after is None:
            return send

        def hedge(call: Call) -> Awaitable[Reply]:
            kind = None if call.streamed else request_kind(call.request)
            if kind is None:
                return send(call)
            self._budget.deposit()
            if isinstance(after, str):
                return hedge_by_percentile(call, kind, _percent(after))
            return hedge_after_seconds(call, after)

        async def hedge_by_percentile(call: Call, kind: RequestKind, percent: float) -> Reply:
            latencies = self._latencies_of(kind)
            seconds = latencies.percentile(percent)
            if seconds is None:
                stopwatch = Stopwatch(call)
                try:
                    reply = await send(call)
                finally:
                    stopwatch.remove()
            else:
                stopwatch, reply = await race(call, seconds)
            if stopwatch.started:
                # For a hedged call from its first request on; otherwise the percentile would sink.
                latencies.record(call.now() - stopwatch.started)
            return reply

        async def hedge_after_seconds(call: Call, seconds: float) -> Reply:
            _, reply = await race(call, seconds)
            return reply

        async def race(call: Call, seconds: float) -> tuple[Stopwatch, Reply]:
            requests = Race(send, call)
            try:
                reply = await requests.run(seconds, self.most, self._budget)
            finally:
                self.sent += requests.extra_sent
                requests.stopwatch.remove()
            if requests.winner is not call:
                self.won += 1
                call.notify("hedge", state="won", endpoint=call.endpoint.name)
            return requests.stopwatch, reply

        return hedge

    def wrap_attempt(self, send: Send) -> Send:
        """Return ``send`` with a stopwatch for each attempt; ``send`` itself if ``after`` is None."""
        if self.after is None:
            return send

        def time_attempt(call: Call) -> Awaitable[Reply]:
            stopwatch: Stopwatch | None = call.notes.get(NOTE_KEY)
            return send(call) if stopwatch is None else stopwatch.time_attempt(send)

        return time_attempt

    def _latencies_of(self, kind: RequestKind) -> LatencyWindow:
        known = self._latencies.get(kind)
        if known is None:
            known = LatencyWindow()
            if len(self._latencies) < _MAX_KINDS:
                self._latencies[kind] = known
        return known
