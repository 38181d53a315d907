"""The content of a scenario: a load, an endpoint, its faults, and the settings to compare."""

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
    """A time in which the endpoint answers nothing; attempts in service at its start are finished.

    ``kind``: connections are "refused", all attempts get a "503", or they "hang" until the end and are then
    cut.
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
    """A time in which a ``share`` of attempts gets an error; all ``kinds`` are equally likely.

    A status comes at once. A "reset" cuts the connection when the answer should have come.
    """

    from_: float = key(seconds, default=0.0)
    to: float = key(seconds)
    share: float = key(share)
    kinds: tuple[str, ...] = key(some_of(*ERRORS), default=ERRORS)

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class EndpointModel:
    """The endpoint: servers with a queue, and limits.

    Attributes:
        capacity: Attempts that it serves at once.
        service: Service times, in seconds.
        queue: Attempts that may wait; further ones get a 503. None: no limit.
        queue_timeout: Seconds in the queue, then a 503. None: no limit.
        round_trip: Network delay in seconds, also for refusals.
        requests_per_minute: Limit; 429 above it. None: no limit.
        tokens_per_minute: Limit; 429 above it. None: no limit.
        burst: Burst size, as seconds' worth of a limit.
        says: "limits": headers with the limits in each answer; "retry_after": when to come back, in a 429.
        prompt_tokens: Tokens of prompts.
        completion_tokens: Tokens of answers.
        key_revoked_at: 401 from this time on, in seconds. None: never.
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
    """Independent customers: calls arrive at a rate, whether earlier ones are answered or not."""

    kind: ClassVar[str] = "open"

    rate: Profile = key(profile)
    deadline: float | None = key(some_seconds, default=None)


@attrs.frozen(kw_only=True)
class ClosedLoad:
    """A number of ``customers``: each makes a call, thinks about the answer, and makes the next one."""

    kind: ClassVar[str] = "closed"

    customers: int = key(count)
    think: Distribution = key(durations)
    deadline: float | None = key(some_seconds, default=None)

    def __attrs_post_init__(self) -> None:
        if self.think.mean == 0:  # calls that are refused at once would leave the clock where it is
            raise ValueError("think must be above 0")


@attrs.frozen(kw_only=True)
class BulkLoad:
    """A map of a number of ``items``, with the ``max_in_flight`` of the settings."""

    kind: ClassVar[str] = "bulk"

    items: int = key(count)
    deadline: float | None = key(some_seconds, default=None)


Load: TypeAlias = OpenLoad | ClosedLoad | BulkLoad
LOADS: dict[str, type[OpenLoad] | type[ClosedLoad] | type[BulkLoad]] = {
    kind.kind: kind for kind in (OpenLoad, ClosedLoad, BulkLoad)
}


@attrs.frozen
class Variant:
    """Settings to compare, as in headrace.toml, with a name."""

    name: str
    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Scenario:
    """What to simulate.

    Attributes:
        title: A title.
        about: What it shows.
        seed: Seed of all random numbers.
        duration: Seconds in which calls begin; calls in flight at the end are finished.
        every: Seconds of a row; None: a sixtieth of the duration.
        stands_for: Real calls for each simulated one. Load and endpoint are divided by it, settings are not.
        processes: Number of processes, each with its own client and policies. They share the load and the
            endpoint with its limits.
        load: How calls arrive.
        endpoint: The model of the endpoint.
        outages: Times without answers.
        brown_outs: Times with less capacity or speed.
        errors: Times in which a share of the attempts fails.
        variants: Settings to compare.
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
        """A random stream for a purpose, and for one process if each has its own.

        Streams are independent, so more numbers from one do not change another.
        """
        return Random(f"{self.seed} {purpose} {process}" if process else f"{self.seed} {purpose}")

    def divided(self, number: float) -> int:
        """A number of the real system as it is in the simulated one."""
        return round(number / self.stands_for)
