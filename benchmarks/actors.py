"""10, 100 and 1,000 actors on one account: what becomes of its limit, in virtual time.

    python benchmarks/actors.py [--json FILE] [--quick]

The client and the policies are the real ones; the endpoint and the server behind headrace-redis are models
(see docs/explanation/simulation.md, and limiter.py), so the figures are a model's, and the same each time.
An actor has two calls in flight, and a call takes a second: it could make two a second.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.limiter import Limiter
from benchmarks.question import arguments, finish
from benchmarks.rounds import Entry, Figures, in_turn

from headrace import Policy
from headrace.testing.simulation import (
    BulkLoad,
    EndpointModel,
    ErrorBurst,
    Lognormal,
    Scenario,
    Variant,
    VariantResult,
    simulate,
)
from headrace_redis import Account

ROUND_TRIP_S = 0.001
SERVICE_S = 0.0001
"""Seconds of an exchange at the server. A redis-server 7.0 answered 6,500 to 9,500 a second to 1,000
connections, on a machine of two processors that others used as well."""

IN_FLIGHT = 2
MINUTE = 60
HOURS_S = 8_000.0

OWN, PACE, SHARE, REDIS = "each on its own", "headrace-pace", "each a share", "headrace-redis"
ALL = (OWN, PACE, SHARE, REDIS)


class Load(NamedTuple):
    """So many actors with so many items, at an endpoint that allows so many requests a minute.

    ``refuses``: from when to when it answers 429 to all, in seconds.
    """

    title: str
    limit: int
    actors: int
    items: int
    runners: tuple[str, ...] = ALL
    refuses: tuple[tuple[float, float], ...] = ()


LOADS = (
    *(Load("600 a minute", 600, actors, 3_000) for actors in (10, 100, 1_000)),
    *(Load("6,000 a minute", 6_000, actors, 18_000) for actors in (10, 100, 1_000)),
    Load("60,000 a minute", 60_000, 1_000, 60_000, (REDIS,)),
    Load("6,000 a minute, and 15 s of nothing but 429", 6_000, 100, 18_000, refuses=((60.0, 75.0),)),
)
QUICK = tuple(load._replace(items=load.items // 10) for load in LOADS if load.actors <= 100)


def settings(name: str, load: Load) -> Mapping[str, Any]:
    """The settings of an actor, who has a retry and a breaker in any case; headrace-redis comes besides."""
    policies = ["retry", "breaker", *(["pace"] if name in (PACE, SHARE) else [])]
    share = {"pace": {"requests_per_minute": load.limit / load.actors}} if name == SHARE else {}
    return {"policies": policies, "max_in_flight": IN_FLIGHT} | share


def run(load: Load, name: str) -> tuple[VariantResult, Limiter]:
    """Simulate it; what the limiter says is of use with headrace-redis alone."""
    limiter = Limiter(ROUND_TRIP_S, SERVICE_S)
    account = Account(url="redis://simulated", requests_per_minute=load.limit)

    def extra_policies(variant: Variant, process: int) -> list[Policy]:
        return [limiter.policy(account)] if name == REDIS else []

    errors = [ErrorBurst(from_=begin, to=end, share=1.0, kinds=("429",)) for begin, end in load.refuses]
    scenario = Scenario(
        duration=HOURS_S,
        every=1.0,
        processes=load.actors,
        load=BulkLoad(items=load.items),
        endpoint=EndpointModel(
            capacity=10 * load.actors,
            service=Lognormal(mean=1.0, p95=2.0),
            round_trip=0.02,
            requests_per_minute=load.limit,
        ),
        errors=tuple(errors),
        variants=(Variant(name, settings(name, load)),),
    )
    (result,) = simulate(scenario, extra_policies=extra_policies).runs
    return result, limiter


def measured(load: Load, name: str) -> Figures:
    """The figures of the table."""
    result, limiter = run(load, name)
    total, seconds = result.total, result.intervals[-1].end
    accepted = [interval.attempts - interval.limited for interval in result.intervals]
    fullest = max(sum(accepted[begin : begin + MINUTE]) for begin in range(len(accepted)))
    served = [part.served for part in result.process_metrics]
    # Who has made none when all is over never had a turn.
    firsts = [seconds if part.first is None else part.first for part in result.process_metrics]
    return {
        "failed_pc": 100 * total.failed / total.offered,
        "limited_pc": 100 * total.limited / total.attempts,
        "used_pc": 100 * total.served / (load.limit * (1 + seconds / MINUTE)),
        "fullest_pc": 100 * fullest / load.limit,
        "seconds": seconds,
        "fewest": min(served),
        "most": max(served),
        "first_s": max(firsts),
        "exchanges_call": limiter.exchanges / total.offered,
        "exchanges_s": limiter.exchanges / seconds,
        "delay_ms": 1000 * limiter.delays.percentile(99) if limiter.exchanges else 0.0,
    }


def main() -> None:
    """Run as a command."""
    asked = arguments("actors", __doc__ or "", 1).parse_args()
    table = {
        Entry(load.title, f"{load.actors:,}: {name}", ""): (load, name)
        for load in (QUICK if asked.quick else LOADS)
        for name in load.runners
    }
    rounds, failures = in_turn(list(table), lambda entry: measured(*table[entry]), asked.repeats)
    server = "none, all of it is simulated"
    finish("actors", "Many actors on one account", (), rounds, failures, server, asked)


if __name__ == "__main__":
    main()
