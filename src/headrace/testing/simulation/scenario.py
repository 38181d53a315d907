"""What a scenario says: a load, an endpoint, what befalls it, and the settings that are tried."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, TypeAlias

import attrs

from headrace.testing.simulation.distributions import Distribution, Fixed
from headrace.testing.simulation.rate_profile import Profile, profile
from headrace.testing.simulation.units import (
    count,
    durations,
    factor,
    key,
    one_of,
    places,
    seconds,
    share,
    sizes,
    some_of,
    some_seconds,
    text,
    whole,
)

OUTAGES = ("refused", "503", "hang")
ERRORS = ("500", "503", "429", "reset")
SAYS = ("limits", "retry_after")
_MOST_INTERVALS = 10_000
_INTERVALS = 60


def _check_window(window: Outage | BrownOut | Errors) -> None:
    if window.to <= window.from_:
        raise ValueError("to must be after from")


@attrs.frozen(kw_only=True)
class Outage:
    """A time in which the endpoint answers nothing.

    ``kind``: connections are "refused", everything gets a "503", or attempts "hang" until it is over and are
    cut then. What was being worked on when it begins is finished.
    """

    from_: float = key(seconds)
    to: float = key(seconds)
    kind: str = key(one_of(*OUTAGES), default="refused")

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class BrownOut:
    """A time in which the endpoint has less ``capacity``, or a lower ``speed``, by these factors."""

    from_: float = key(seconds)
    to: float = key(seconds)
    capacity: float = key(factor, default=1.0)
    speed: float = key(factor, default=1.0)

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class Errors:
    """A time in which a ``share`` of attempts gets an error, each of ``kinds`` as likely as the others.

    A status comes at once; a "reset" cuts the connection when the answer should have come.
    """

    from_: float = key(seconds, default=0.0)
    to: float = key(seconds)
    share: float = key(share)
    kinds: tuple[str, ...] = key(some_of(*ERRORS), default=ERRORS)

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class EndpointModel:
    """The endpoint: servers with a queue before them, and limits.

    ``capacity``: attempts that it works on at once; ``service``: the seconds that each takes then. ``queue``:
    how many may wait (None: any number); ``queue_timeout``: how long (None: for ever); beyond either there is
    a 503. ``round_trip``: seconds on the way, for refusals too. ``requests_per_minute`` and
    ``tokens_per_minute``: a 429 above them; ``burst`` seconds' worth may come at once. What it ``says`` of
    them: the "limits", in the headers of each answer; "retry_after", when to come back, in those of a 429.
    ``prompt_tokens`` and ``completion_tokens`` of an answer. ``key_revoked_at``: from then on there is a 401.
    """

    capacity: int = key(count)
    service: Distribution = key(durations)
    queue: int | None = key(places, default=None)
    queue_timeout: float | None = key(some_seconds, default=None)
    round_trip: float = key(seconds, default=0.0)
    requests_per_minute: int | None = key(count, default=None)
    tokens_per_minute: int | None = key(count, default=None)
    burst: float = key(some_seconds, default=60.0)
    says: tuple[str, ...] = key(some_of(*SAYS, or_none=True), default=SAYS)
    prompt_tokens: Distribution = key(sizes, default=Fixed(200.0))
    completion_tokens: Distribution = key(sizes, default=Fixed(100.0))
    key_revoked_at: float | None = key(seconds, default=None)


@attrs.frozen(kw_only=True)
class OpenLoad:
    """Customers who know nothing of each other: calls come at a rate, whatever becomes of them."""

    kind: ClassVar[str] = "open"

    rate: Profile = key(profile)
    deadline: float | None = key(some_seconds, default=None)


@attrs.frozen(kw_only=True)
class ClosedLoad:
    """So many ``customers``, each of whom makes a call, thinks about the answer, and makes the next."""

    kind: ClassVar[str] = "closed"

    customers: int = key(count)
    think: Distribution = key(durations)
    deadline: float | None = key(some_seconds, default=None)

    def __attrs_post_init__(self) -> None:
        if self.think.mean == 0:  # calls that are refused at once would leave the clock where it is
            raise ValueError("think must be above 0")


@attrs.frozen(kw_only=True)
class BulkLoad:
    """A map of so many ``items``, with the ``max_in_flight`` of the settings."""

    kind: ClassVar[str] = "bulk"

    items: int = key(count)
    deadline: float | None = key(some_seconds, default=None)


Load: TypeAlias = OpenLoad | ClosedLoad | BulkLoad
LOADS: dict[str, type[OpenLoad] | type[ClosedLoad] | type[BulkLoad]] = {
    kind.kind: kind for kind in (OpenLoad, ClosedLoad, BulkLoad)
}


@attrs.frozen
class Variant:
    """Settings to be tried, as in headrace.toml, under a name."""

    name: str
    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Scenario:
    """What is to be simulated.

    ``title`` and ``about`` say what it shows. ``duration``: seconds in which calls begin; those under way
    then are finished. ``every``: seconds of a row, by default a sixtieth of that. ``stands_for``: how many
    real calls each simulated one stands for; load and endpoint are divided by it, settings are not: they
    are those of one process of so many. ``processes``: how many there are, each with a client and policies of
    its own; they share the load, and the endpoint with its limits. ``seed``: all chance comes from it.
    """

    title: str = key(text, default="")
    about: str = key(text, default="")
    seed: int = key(whole, default=1)
    duration: float = key(some_seconds)
    every: float | None = key(some_seconds, default=None)
    stands_for: int = key(count, default=1)
    processes: int = key(count, default=1)
    load: Load = attrs.field()
    endpoint: EndpointModel = attrs.field()
    outages: tuple[Outage, ...] = ()
    brown_outs: tuple[BrownOut, ...] = ()
    errors: tuple[Errors, ...] = ()
    variants: tuple[Variant, ...] = (Variant("", {}),)

    def __attrs_post_init__(self) -> None:
        if self.duration / self.width > _MOST_INTERVALS:
            raise ValueError(f"every: {self.width:g} s makes more than {_MOST_INTERVALS:,} rows")
        shared = {name: getattr(self.load, name, None) for name in ("customers", "items")}
        for name, number in (
            ("[endpoint] capacity", self.endpoint.capacity),
            ("[endpoint] requests_per_minute", self.endpoint.requests_per_minute),
            *((f"[load] {name}", number) for name, number in shared.items()),
        ):
            if number is not None and number < self.stands_for:
                raise ValueError(f"stands_for: {name} is {number:,}, of which {self.stands_for:,} leave none")
        for name, number in shared.items():
            if number is not None and self.divided(number) < self.processes:
                raise ValueError(
                    f"processes: {self.processes:,} are more than there are {name}: {self.divided(number):,}"
                )

    @property
    def width(self) -> float:
        """Seconds of a row."""
        return self.duration / _INTERVALS if self.every is None else self.every

    def chance(self, purpose: str, process: int = 0) -> Random:
        """A stream of chance for a purpose, and of one process where each has its own.

        Streams are apart, so that what one draws more of changes nothing else.
        """
        return Random(f"{self.seed} {purpose} {process}" if process else f"{self.seed} {purpose}")

    def divided(self, number: float) -> int:
        """A number of the real system as it is in the simulated one."""
        return round(number / self.stands_for)
