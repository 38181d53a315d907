"""The adaptive policy: the async shell around `headrace_adaptive.control`."""

from __future__ import annotations

import functools
import math
from typing import Any

import anyio
import attrs

from headrace import Call, Ending, Endpoint, RateLimited, Reply, Send, ServerError, SettingsError, Stage
from headrace.plugins import Evidence, Refusals
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
class _Place:
    """A call's place: the number of its attempt, and when that began."""

    number: int = 0
    begun: float = 0.0


class _Lane:
    """One endpoint's limit, and the places that it gives."""

    __slots__ = ("begun", "control", "endpoint", "limiter", "refusals", "told")

    def __init__(self, endpoint: Endpoint, rules: Rules, now: float) -> None:
        self.endpoint = endpoint.name
        self.control = Control(rules, now)
        self.refusals = Refusals()
        self.begun = 0
        self.limiter = anyio.CapacityLimiter(rules.start)
        self.told = rules.start

    def heed(self, call: Call, place: _Place, error: RateLimited) -> None:
        """Cut the limit, or withhold a place, where a 429 is a limit's and not chance."""
        now, asked = call.now(), error.retry_after
        evidence = self.refusals.refused(place.number, place.begun, now, asked, self.begun)
        if evidence is Evidence.CHANCE:
            self.control.restore(now)
            self.tell(call, CHANCE)
        elif evidence is Evidence.SUSPECTED:
            self.control.suspect(now, asked)
            self.tell(call, RATE_LIMITED)
        elif self.refusals.limited and not self.refusals.testing and self.control.rate_limited(now, asked):
            self.tell(call, RATE_LIMITED)

    def passed(self, call: Call, place: _Place) -> None:
        """Go on with the test, if one is under way: an attempt was not refused."""
        if self.refusals.testing and self.refusals.passed(place.number, call.now()) is Evidence.LIMIT:
            self.control.confirm()

    def tell(self, call: Call, why: str) -> None:
        """Tell of each cut, and of growth now and then."""
        limit = self.control.limit
        if why != GROWTH or limit >= self.told * _NOTICEABLE:
            self.told = limit
            call.notify("adaptive", endpoint=self.endpoint, limit=limit, why=why)


@attrs.define(eq=False, kw_only=True)
class Adaptive:
    """Lets an endpoint have as many calls at once as its rate limits bear; others wait, first in, first out.

    ``start``: calls at once to begin with (default None: no limit, the policy does nothing). ``least`` and
    ``most``: the limit stays between them (default 1, and none: the client's ``max_in_flight`` bounds it).
    A 429 cuts it to ``cut`` of itself (default 0.8), at most once in ``cooldown`` seconds (default 15) or
    what its Retry-After says, whichever is longer. It grows by ``growth`` of itself (default 0.05) a round,
    or by one place where it was cut before, while at least 80 % of it is in use; a round is the time of one
    call, and a second at least. A 5xx stops growth for ``cooldown`` seconds. Latency is not looked at.

    The 429 comes out as it is; whether it is tried again is a retry policy's business. A stream keeps its
    place until it ends. Raises `SettingsError` for a value out of range.
    """

    name = "adaptive"
    stage = Stage.PACE

    start: int | None = attrs.field(default=None, validator=_at_least_one)
    least: int = attrs.field(default=1, validator=_at_least_one)
    most: int | None = attrs.field(default=None, validator=_at_least_one)
    cut: float = attrs.field(default=0.8, validator=_share)
    growth: float = attrs.field(default=0.05, validator=_share)
    cooldown: float = attrs.field(default=15.0, validator=_positive)
    _lanes: dict[tuple[str, str], _Lane] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        most = math.inf if self.most is None else self.most
        if self.start is not None and not self.least <= self.start <= most:
            raise SettingsError(f"adaptive: start={self.start}: must lie from least={self.least} to {most=}")

    def limit(self, endpoint: str) -> int | None:
        """How many calls the endpoint of this name may have at once now; None without ``start``."""
        for (name, _), lane in self._lanes.items():
            if name == endpoint:
                return lane.control.limit
        return self.start

    def wrap(self, send: Send) -> Send:
        """``send`` once the call's endpoint has a place; ``send`` itself without ``start``."""
        if self.start is None:
            return send
        rules = Rules(
            start=self.start,
            least=self.least,
            most=math.inf if self.most is None else self.most,
            cut=self.cut,
            growth=self.growth,
            cooldown=self.cooldown,
        )
        lanes = self._lanes

        async def pace(call: Call) -> Reply:
            # Not the URL alone: two accounts at one provider have a limit each.
            key = (call.endpoint.name, call.endpoint.base_url)
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = _Lane(call.endpoint, rules, call.now())
            place = _Place()
            try:
                lane.limiter.acquire_on_behalf_of_nowait(place)
            except anyio.WouldBlock:
                await lane.limiter.acquire_on_behalf_of(place)
            lane.begun += 1
            place.number, place.begun = lane.begun, call.now()
            try:
                reply = await send(call)
            except BaseException as error:
                _leave(lane, call, place, error)
                raise
            if call.streamed:
                call.at_end(functools.partial(_stream_ended, lane, call, place))
            else:
                _leave(lane, call, place, None)
            return reply

        return pace


def _stream_ended(lane: _Lane, call: Call, place: _Place, ending: Ending) -> None:
    _leave(lane, call, place, ending.error)


def _leave(lane: _Lane, call: Call, place: _Place, error: BaseException | None) -> None:
    """Hear what became of a call, and then give its place back: what a cut takes goes to nobody else."""
    control, limiter = lane.control, lane.limiter
    if not isinstance(error, RateLimited):
        lane.passed(call, place)
    if error is None:
        if control.answered(call.now(), limiter.borrowed_tokens):
            lane.tell(call, GROWTH)
    elif isinstance(error, RateLimited):
        # An account without credit answers 429 as well; no pace is slow enough for it.
        if error.error_code != "insufficient_quota":
            lane.heed(call, place, error)
    elif isinstance(error, ServerError):
        control.failed(call.now())
    if control.places != limiter.total_tokens:
        limiter.total_tokens = control.places
    limiter.release_on_behalf_of(place)
