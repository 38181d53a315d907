"""A scenario: a load, an endpoint with its faults, and the settings to compare."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, TypeAlias

import attrs

from headrace.testing.simulation.distributions import Distribution, Fixed
from headrace.testing.simulation.rate_profile import RateProfile, parse_rate_profile
from headrace.testing.simulation.units import (
    count,
    count_or_zero,
    durations,
    factor,
    integer,
    key,
    list_of,
    one_of,
    positive_seconds,
    seconds,
    share,
    sizes,
    text,
)

OUTAGE_KINDS = ("refused", "503", "hang")
ERROR_KINDS = ("500", "503", "429", "reset")
SAYS = ("limits", "retry_after")
_MOST_INTERVALS = 10_000
_INTERVALS = 60


def _check_window(window: Outage | BrownOut | ErrorBurst) -> None:
    if window.to <= window.from_:
        raise ValueError("to must be after from")


@attrs.frozen(kw_only=True)
class Outage:
    """A time in which the endpoint does not answer. Attempts in service at its start are finished.

    Attributes:
        from_: Start, in seconds.
        to: End, in seconds.
        kind: "refused": connections are refused; "503": all attempts get this status; "hang": attempts hang
            until the end and are then cut.
    """

    from_: float = key(seconds)
    to: float = key(seconds)
    kind: str = key(one_of(*OUTAGE_KINDS), default="refused")

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class BrownOut:
    """A time in which the endpoint has less capacity or is slower.

    Attributes:
        from_: Start, in seconds.
        to: End, in seconds.
        capacity: Factor for the number of attempts that it serves at once. Default: 1.
        speed: Factor for its speed. Default: 1.
    """

    from_: float = key(seconds)
    to: float = key(seconds)
    capacity: float = key(factor, default=1.0)
    speed: float = key(factor, default=1.0)

    def __attrs_post_init__(self) -> None:
        _check_window(self)


@attrs.frozen(kw_only=True)
class ErrorBurst:
    """A time in which a share of the attempts gets an error.

    Attributes:
        from_: Start, in seconds. Default: 0.
        to: End, in seconds.
        share: Share of attempts with an error, from 0 to 1.
        kinds: Kinds of errors; all are equally likely. "500", "503" and "429" are statuses, sent at once.
            "reset" cuts the connection when the answer is due. Default: all of them.
    """

    from_: float = key(seconds, default=0.0)
    to: float = key(seconds)
    share: float = key(share)
    kinds: tuple[str, ...] = key(list_of(*ERROR_KINDS), default=ERROR_KINDS)

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
        says: "limits": rate limit headers in each answer; "retry_after": `Retry-After` in each 429.
        prompt_tokens: Number of tokens of prompts.
        completion_tokens: Number of tokens of answers.
        key_revoked_at: From this time on, in seconds, all attempts get a 401. None: never.
    """

    capacity: int = key(count)
    service: Distribution = key(durations)
    queue: int | None = key(count_or_zero, default=None)
    queue_timeout: float | None = key(positive_seconds, default=None)
    round_trip: float = key(seconds, default=0.0)
    requests_per_minute: int | None = key(count, default=None)
    tokens_per_minute: int | None = key(count, default=None)
    burst: float = key(positive_seconds, default=60.0)
    says: tuple[str, ...] = key(list_of(*SAYS, or_none=True), default=SAYS)
    prompt_tokens: Distribution = key(sizes, default=Fixed(200.0))
    completion_tokens: Distribution = key(sizes, default=Fixed(100.0))
    key_revoked_at: float | None = key(seconds, default=None)


@attrs.frozen(kw_only=True)
class OpenLoad:
    """Calls that arrive at a rate, whether earlier ones are answered or not.

    Attributes:
        rate: Calls per second, over time.
        deadline: Deadline of each call, in seconds. None: no deadline.
    """

    kind: ClassVar[str] = "open"

    rate: RateProfile = key(parse_rate_profile)
    deadline: float | None = key(positive_seconds, default=None)


@attrs.frozen(kw_only=True)
class ClosedLoad:
    """Customers that each make a call, think about the answer, and make the next call.

    Attributes:
        customers: Number of customers.
        think: Time between an answer and the next call, in seconds.
        deadline: Deadline of each call, in seconds. None: no deadline.
    """

    kind: ClassVar[str] = "closed"

    customers: int = key(count)
    think: Distribution = key(durations)
    deadline: float | None = key(positive_seconds, default=None)

    def __attrs_post_init__(self) -> None:
        if self.think.mean == 0:  # with calls that fail at once, the clock would never advance
            raise ValueError("think must be above 0")


@attrs.frozen(kw_only=True)
class BulkLoad:
    """A map over a number of items, with the ``max_in_flight`` of the settings.

    Attributes:
        items: Number of items.
        deadline: Deadline of each call, in seconds. None: no deadline.
    """

    kind: ClassVar[str] = "bulk"

    items: int = key(count)
    deadline: float | None = key(positive_seconds, default=None)


Load: TypeAlias = OpenLoad | ClosedLoad | BulkLoad
LOADS: dict[str, type[OpenLoad] | type[ClosedLoad] | type[BulkLoad]] = {
    kind.kind: kind for kind in (OpenLoad, ClosedLoad, BulkLoad)
}


@attrs.frozen
class Variant:
    """Settings to compare.

    Attributes:
        name: The name of the variant.
        settings: The settings, as in headrace.toml.
    """

    name: str
    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Scenario:
    """What to simulate.

    Attributes:
        title: A title.
        about: A description.
        seed: Seed of all random numbers. Default: 1.
        duration: Seconds in which calls begin; calls in flight at the end are finished.
        every: Length of an interval, in seconds. None: a sixtieth of the duration.
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
    seed: int = key(integer, default=1)
    duration: float = key(positive_seconds)
    every: float | None = key(positive_seconds, default=None)
    stands_for: int = key(count, default=1)
    processes: int = key(count, default=1)
    load: Load = attrs.field()
    endpoint: EndpointModel = attrs.field()
    outages: tuple[Outage, ...] = ()
    brown_outs: tuple[BrownOut, ...] = ()
    errors: tuple[ErrorBurst, ...] = ()
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
                raise ValueError(
                    f"stands_for: must be at most {name}, {number:,}, and not {self.stands_for:,}"
                )
        for name, number in shared.items():
            if number is not None and self.scaled(number) < self.processes:
                raise ValueError(f"processes: must be at most the number of {name}, {self.scaled(number):,}")

    @property
    def width(self) -> float:
        """Length of an interval, in seconds."""
        return self.duration / _INTERVALS if self.every is None else self.every

    def random_stream(self, purpose: str, process: int = 0) -> Random:
        """A random stream for a purpose, and for one process if each process has its own.

        Streams are independent: more numbers from one stream do not change another one.
        """
        return Random(f"{self.seed} {purpose} {process}" if process else f"{self.seed} {purpose}")

    def scaled(self, number: float) -> int:
        """A number of the real system, divided for the simulated one."""
        return round(number / self.stands_for)
