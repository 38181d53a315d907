"""The adaptive policy: the async shell around `headrace_adaptive.control`."""

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
from headrace.plugins import BoundedMapping, Evidence, Refusals
from headrace_adaptive.control import Control, Rules

_NOTICEABLE = 1.1
"""Growth is told of when the limit is so many times what was told last."""

GROWTH, RATE_LIMITED, CHANCE = "growth", "rate_limited", "chance"
"""Why a limit was moved."""


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be at least 1")


def _share(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < 1:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be above 0 and below 1")


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < math.inf:
        raise SettingsError(f"adaptive: {attribute.name}={value!r}: must be above 0")


@attrs.define(eq=False)
class _Attempt:
    """An attempt's number among those of its lane, and when it began."""

    number: int
    begun: float


class _Lane:
    """The limit of one model at one endpoint, and the tokens that it gives."""

    __slots__ = ("begun", "control", "endpoint", "limiter", "model", "refusals", "told", "under_way")

    def __init__(self, endpoint: str, model: str | None, rules: Rules, now: float) -> None:
        self.endpoint = endpoint
        self.model = model
        self.control = Control(rules, now)
        self.refusals = Refusals()
        self.limiter = PriorityCapacityLimiter(rules.start)
        self.begun = 0
        self.under_way = 0
        self.told = rules.start

    def begin(self, now: float) -> _Attempt:
        """An attempt has its tokens."""
        self.begun += 1
        self.under_way += 1
        return _Attempt(self.begun, now)

    @property
    def in_use(self) -> int:
        """How many attempts are on the wire.

        An attempt that waits further in borrows no token meanwhile; a borrower that still waits for a token
        of the client is not under way.
        """
        return min(self.under_way, self.limiter.borrowed_tokens)

    def heed(self, call: Call, attempt: _Attempt, error: RateLimited) -> None:
        """Cut the limit, or withhold a token, where a 429 is a limit's and not chance."""
        now, asked = call.now(), error.retry_after
        begun = max(attempt.begun, call.resumed)
        evidence = self.refusals.refused(attempt.number, begun, now, asked, self.begun)
        if evidence is Evidence.CHANCE:
            self.control.restore(now)
            self.tell(call, CHANCE)
        elif evidence is Evidence.SUSPECTED:
            self.control.suspect(now, asked)
            self.tell(call, RATE_LIMITED)
        elif self.refusals.limited and not self.refusals.testing and self.control.rate_limited(now, asked):
            self.tell(call, RATE_LIMITED)

    def passed(self, call: Call, attempt: _Attempt) -> None:
        """Go on with the test, if one is under way: an attempt was not refused."""
        if self.refusals.testing and self.refusals.passed(attempt.number, call.now()) is Evidence.LIMIT:
            self.control.confirm()

    def tell(self, call: Call, why: str) -> None:
        """Tell of each cut, and of growth now and then."""
        limit = self.control.limit
        if why != GROWTH or limit >= self.told * _NOTICEABLE:
            self.told = limit
            call.notify("adaptive", endpoint=self.endpoint, model=self.model, limit=limit, why=why)


@attrs.define(eq=False, kw_only=True)
class Adaptive:
    """Lets each model at an endpoint have as many attempts at once as its rate limits bear.

    Others wait by priority, and then first in, first out; they hold no token of the client meanwhile. A 429
    comes out as it is: a retry policy may try again. A stream counts until it ends. Latency is not looked at.

    Args:
        start: Attempts at once to begin with (default None: no limit, the policy does nothing).
        least: The limit never falls below it (default 1).
        most: It never grows above it (default: no bound but the client's limiter).
        cut: A 429 cuts it to so much of itself (default 0.8), at most once in ``cooldown`` seconds, or in
            what its Retry-After says where that is longer.
        growth: It grows by so much of itself in a round (default 0.05), or by one where it was cut before,
            while at least 80 % of it is in use. A round is the time of one call, and a second at least.
        cooldown: Seconds (default 15); a 5xx stops growth for so long.

    Raises:
        SettingsError: A value is out of range.
    """

    name = "adaptive"
    stage = Stage.PACE

    start: int | None = attrs.field(default=None, validator=_at_least_one)
    least: int = attrs.field(default=1, validator=_at_least_one)
    most: int | None = attrs.field(default=None, validator=_at_least_one)
    cut: float = attrs.field(default=0.8, validator=_share)
    growth: float = attrs.field(default=0.05, validator=_share)
    cooldown: float = attrs.field(default=15.0, validator=_positive)
    _lanes: BoundedMapping[tuple[str, str, str | None], _Lane] = attrs.field(init=False, repr=False)

    @_lanes.default
    def _no_lanes(self) -> BoundedMapping[tuple[str, str, str | None], _Lane]:
        return BoundedMapping(self._new_lane, in_use=_is_used)

    def __attrs_post_init__(self) -> None:
        most = math.inf if self.most is None else self.most
        if self.start is not None and not self.least <= self.start <= most:
            raise SettingsError(f"adaptive: start={self.start}: must lie from least={self.least} to {most=}")

    def limit(self, endpoint: str, model: str | None = None) -> int | None:
        """How many attempts may be under way at once now; None without ``start``.

        Args:
            endpoint: The endpoint's name.
            model: The model's name there (default: the lowest limit of its models).
        """
        limits = [
            lane.control.limit
            for lane in self._lanes.all_values()
            if lane.endpoint == endpoint and (model is None or model == lane.model)
        ]
        return min(limits, default=self.start)

    def reset(self) -> None:
        """Forget all limits: the event loop that they belonged to has ended."""
        self._lanes.forget()

    def wrap(self, send: Send) -> Send:
        """``send`` with a token of the call's model and endpoint; ``send`` itself without ``start``."""
        if self.start is None:
            return send
        lanes = self._lanes

        async def pace(call: Call) -> Reply:
            endpoint, model = call.endpoint, call.request.model
            if model is not None:
                model = endpoint.name_of(model)
            # Not the URL alone: two accounts at one provider have a limit each.
            lane = lanes[endpoint.name, endpoint.base_url, model]
            await call.acquire(lane.limiter)
            attempt = lane.begin(call.now())
            try:
                reply = await send(call)
            except BaseException as error:
                _leave(lane, call, attempt, error)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(_stream_ended, lane, call, attempt))
            else:
                _leave(lane, call, attempt, None)
            return reply

        return pace

    def _new_lane(self, key: tuple[str, str, str | None]) -> _Lane:
        assert self.start is not None
        name, _, model = key
        rules = Rules(
            start=self.start,
            least=self.least,
            most=math.inf if self.most is None else self.most,
            cut=self.cut,
            growth=self.growth,
            cooldown=self.cooldown,
        )
        return _Lane(name, model, rules, anyio.current_time())


def _is_used(lane: _Lane) -> bool:
    """Whether calls are in it; one that waits further in borrows nothing."""
    return bool(lane.under_way or lane.limiter.borrowed_tokens)


def _stream_ended(lane: _Lane, call: Call, attempt: _Attempt, result: StreamResult) -> None:
    _leave(lane, call, attempt, result.error)


def _leave(lane: _Lane, call: Call, attempt: _Attempt, error: BaseException | None) -> None:
    """Hear what became of an attempt, and then give its token back: what a cut takes goes to nobody else."""
    control, limiter = lane.control, lane.limiter
    if not isinstance(error, RateLimited):
        lane.passed(call, attempt)
    if error is None:
        if control.answered(call.now(), lane.in_use):
            lane.tell(call, GROWTH)
    elif isinstance(error, RateLimited):
        if error.limit != "quota":  # no pace is slow enough for an account without credit
            lane.heed(call, attempt, error)
    elif isinstance(error, ServerError):
        control.failed(call.now())
    lane.under_way -= 1
    if control.tokens != limiter.total_tokens:
        limiter.total_tokens = control.tokens
    call.release(limiter)
