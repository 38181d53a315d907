"""The adaptive policy: the async shell around `headrace_adaptive.controller`."""

from __future__ import annotations

import functools
import math
from typing import Any

import anyio
import attrs

from headrace import (
    Call,
    PriorityCapacityLimiter,
    RateLimited,
    Reply,
    Send,
    ServerError,
    SettingsError,
    Stage,
    StreamResult,
)
from headrace.plugins import BoundedMapping, RateLimitDetector, RateLimitEvidence
from headrace_adaptive.controller import LimitConfig, LimitController

_NOTIFY_FACTOR = 1.1
"""Observers are notified of growth when the limit has grown by this factor since the last event."""

GROWTH, RATE_LIMITED, CHANCE = "growth", "rate_limited", "chance"
"""Why a limit was changed."""


def _validate_at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be at least 1")


def _validate_share(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < 1:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be above 0 and below 1")


def _validate_positive(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < math.inf:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be above 0")


@attrs.define(eq=False)
class _StartedAttempt:
    """The number of an attempt under its limit, and when it started."""

    number: int
    started: float


class _ModelLimit:
    """The limit of one model at one endpoint, and its tokens."""

    __slots__ = (
        "attempts_started",
        "controller",
        "endpoint",
        "in_flight",
        "last_notified",
        "limiter",
        "model",
        "refusals",
    )

    def __init__(self, endpoint: str, model: str | None, config: LimitConfig, now: float) -> None:
        self.endpoint = endpoint
        self.model = model
        self.controller = LimitController(config, now)
        self.refusals = RateLimitDetector()
        self.limiter = PriorityCapacityLimiter(config.start)
        self.attempts_started = 0
        self.in_flight = 0
        self.last_notified = config.start

    def start_attempt(self, now: float) -> _StartedAttempt:
        """Count an attempt that has its tokens."""
        self.attempts_started += 1
        self.in_flight += 1
        return _StartedAttempt(self.attempts_started, now)

    @property
    def in_use(self) -> int:
        """How many attempts are on the wire.

        An attempt that waits in an inner policy has released its token; a borrower that still waits for a
        token of the client is not in flight.
        """
        return min(self.in_flight, self.limiter.borrowed_tokens)

    def record_refusal(self, call: Call, attempt: _StartedAttempt, error: RateLimited) -> None:
        """Cut the limit or withhold a token, if a limit and not chance causes the 429s."""
        now, retry_after = call.now(), error.retry_after
        started = max(attempt.started, call.resumed)
        evidence = self.refusals.record_rejection(
            attempt.number, started, now, retry_after, self.attempts_started
        )
        if evidence is RateLimitEvidence.CHANCE:
            self.controller.undo_cut(now)
            self.notify(call, CHANCE)
        elif evidence is RateLimitEvidence.SUSPECTED:
            self.controller.cut_as_test(now, retry_after)
            self.notify(call, RATE_LIMITED)
        elif (
            self.refusals.limited
            and not self.refusals.testing
            and self.controller.record_rate_limit(now, retry_after)
        ):
            self.notify(call, RATE_LIMITED)

    def record_not_refused(self, call: Call, attempt: _StartedAttempt) -> None:
        """Continue a test, if there is one, with an attempt that was not refused."""
        if (
            self.refusals.testing
            and self.refusals.record_acceptance(attempt.number, call.now()) is RateLimitEvidence.LIMIT
        ):
            self.controller.confirm_cut()

    def notify(self, call: Call, why: str) -> None:
        """Notify observers of each cut, and of growth by `_NOTIFY_FACTOR`."""
        limit = self.controller.limit
        if why != GROWTH or limit >= self.last_notified * _NOTIFY_FACTOR:
            self.last_notified = limit
            call.notify("adaptive", endpoint=self.endpoint, model=self.model, limit=limit, why=why)


@attrs.define(eq=False, kw_only=True)
class Adaptive:
    """Finds the concurrency that an endpoint's rate limits allow, for each of its models.

    Calls over the limit wait by priority, then first in, first out; waiting calls hold no token of the
    client. A 429 is raised unchanged, so that a retry policy can retry it. A stream counts until it ends.
    Latency has no effect.

    Args:
        start: Concurrent attempts at first (default None: no limit, the policy does nothing).
        least: The limit never falls below it (default 1).
        most: The limit never grows above it (default None: only the client's limiter bounds it).
        cut: A 429 cuts the limit to this share of itself, above 0 and below 1 (default 0.8). It does so at
            most once in ``cooldown`` seconds, or in its Retry-After if that is longer.
        growth: The limit grows by this share of itself per round, above 0 and below 1 (default 0.05), or by
            one while it is below the last cut. At least 80 % of it must be in use. A round is the time of one
            call, but at least one second.
        cooldown: Seconds without growth after a cut or a 5xx (default 15).

    Raises:
        SettingsError: A value is out of range.

    Example:
        >>> client = headrace.Client(max_in_flight=500, policies=[Adaptive(start=20)])
    """

    name = "adaptive"
    stage = Stage.PACE

    start: int | None = attrs.field(default=None, validator=_validate_at_least_one)
    least: int = attrs.field(default=1, validator=_validate_at_least_one)
    most: int | None = attrs.field(default=None, validator=_validate_at_least_one)
    cut: float = attrs.field(default=0.8, validator=_validate_share)
    growth: float = attrs.field(default=0.05, validator=_validate_share)
    cooldown: float = attrs.field(default=15.0, validator=_validate_positive)
    _limits: BoundedMapping[tuple[str, str, str | None], _ModelLimit] = attrs.field(init=False, repr=False)

    @_limits.default
    def _no_limits(self) -> BoundedMapping[tuple[str, str, str | None], _ModelLimit]:
        return BoundedMapping(self._new_limit, in_use=_is_used)

    def __attrs_post_init__(self) -> None:
        most = math.inf if self.most is None else self.most
        if self.start is not None and not self.least <= self.start <= most:
            raise SettingsError(
                f"adaptive: start={self.start}: must be between least={self.least} and {most=}"
            )

    def limit(self, endpoint: str, model: str | None = None) -> int | None:
        """How many attempts may be in flight at once now; None without ``start``.

        Args:
            endpoint: The endpoint's name.
            model: The model's name there (default: the lowest limit of its models).
        """
        limits = [
            each.controller.limit
            for each in self._limits.all_values()
            if each.endpoint == endpoint and (model is None or model == each.model)
        ]
        return min(limits, default=self.start)

    def reset(self) -> None:
        """Forget all limits: they belonged to an event loop that has ended."""
        self._limits.forget()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` behind the limit of the call's model; ``send`` itself without ``start``."""
        if self.start is None:
            return send
        limits = self._limits

        async def pace(call: Call) -> Reply:
            endpoint, model = call.endpoint, call.request.model
            if model is not None:
                model = endpoint.name_of(model)
            # By name as well as URL: two accounts at one provider have separate limits.
            limit = limits[endpoint.name, endpoint.base_url, model]
            await call.acquire(limit.limiter)
            attempt = limit.start_attempt(call.now())
            try:
                reply = await send(call)
            except BaseException as error:
                _finish(limit, call, attempt, error)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(_on_stream_end, limit, call, attempt))
            else:
                _finish(limit, call, attempt, None)
            return reply

        return pace

    def _new_limit(self, key: tuple[str, str, str | None]) -> _ModelLimit:
        assert self.start is not None
        name, _, model = key
        config = LimitConfig(
            start=self.start,
            least=self.least,
            most=math.inf if self.most is None else self.most,
            cut=self.cut,
            growth=self.growth,
            cooldown=self.cooldown,
        )
        return _ModelLimit(name, model, config, anyio.current_time())


def _is_used(limit: _ModelLimit) -> bool:
    """Whether calls use it; a call that waits in an inner policy borrows no token."""
    return bool(limit.in_flight or limit.limiter.borrowed_tokens)


def _on_stream_end(limit: _ModelLimit, call: Call, attempt: _StartedAttempt, result: StreamResult) -> None:
    _finish(limit, call, attempt, result.error)


def _finish(limit: _ModelLimit, call: Call, attempt: _StartedAttempt, error: BaseException | None) -> None:
    """Record the result of an attempt, then release its token: a token removed by a cut is not reused."""
    controller, limiter = limit.controller, limit.limiter
    if not isinstance(error, RateLimited):
        limit.record_not_refused(call, attempt)
    if error is None:
        if controller.record_success(call.now(), limit.in_use):
            limit.notify(call, GROWTH)
    elif isinstance(error, RateLimited):
        if error.limit != "quota":  # an account without credit has no rate limit to find
            limit.record_refusal(call, attempt, error)
    elif isinstance(error, ServerError):
        controller.record_failure(call.now())
    limit.in_flight -= 1
    if controller.tokens != limiter.total_tokens:
        limiter.total_tokens = controller.tokens
    call.release(limiter)
