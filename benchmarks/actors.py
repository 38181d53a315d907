"""How do 10, 100 and 1,000 actors share the rate limit of one account? Simulated in virtual time.

    python benchmarks/actors.py [--json FILE] [--quick]

The client and the policies are the real ones. The endpoint and the Redis server are models (see
docs/explanation/simulation.md and redis_model.py), so the figures are the same each time. An actor has two
calls in flight, and a call takes one second, so an actor could make two calls per second.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import argument_parser, report_result
from benchmarks.redis_model import RedisModel
from benchmarks.rounds import Entry, Figures, measure_rounds

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
"""Seconds of an exchange at the server. redis-server 7.0 answered 6,500 to 9,500 per second for 1,000
connections, on a shared machine with two processors."""

IN_FLIGHT = 2
MINUTE = 60
DURATION_S = 8_000.0

OWN, PACE, SHARE, REDIS = "no shared policy", "headrace-pace", "headrace-pace, equal shares", "headrace-redis"
ALL = (OWN, PACE, SHARE, REDIS)


class Load(NamedTuple):
    """A number of actors and items, at an endpoint with a limit of requests per minute.

    ``refuses``: start and end of the times in which it answers 429 to all requests, in seconds.
    """

    title: str
    limit: int
    actors: int
    items: int
    runners: tuple[str, ...] = ALL
    refuses: tuple[tuple[float, float], ...] = ()


LOADS = (
    *(Load("600 per minute", 600, actors, 3_000) for actors in (10, 100, 1_000)),
    *(Load("6,000 per minute", 6_000, actors, 18_000) for actors in (10, 100, 1_000)),
    Load("60,000 per minute", 60_000, 1_000, 60_000, (REDIS,)),
    Load("6,000 per minute, and only 429s for 15 s", 6_000, 100, 18_000, refuses=((60.0, 75.0),)),
)
QUICK = tuple(load._replace(items=load.items // 10) for load in LOADS if load.actors <= 100)


def settings(name: str, load: Load) -> Mapping[str, Any]:
    """The settings of an actor: always with retry and breaker; headrace-redis is added separately."""
    policies = ["retry", "breaker", *(["pace"] if name in (PACE, SHARE) else [])]
    share = {"pace": {"requests_per_minute": load.limit / load.actors}} if name == SHARE else {}
    return {"policies": policies, "max_in_flight": IN_FLIGHT} | share


def simulate_load(load: Load, name: str) -> tuple[VariantResult, RedisModel]:
    """Simulate a load. The Redis model has results only with headrace-redis."""
    redis_model = RedisModel(ROUND_TRIP_S, SERVICE_S)
    account = Account(url="redis://simulated", requests_per_minute=load.limit)

    def extra_policies(variant: Variant, process: int) -> list[Policy]:
        return [redis_model.policy(account)] if name == REDIS else []

    errors = [ErrorBurst(from_=begin, to=end, share=1.0, kinds=("429",)) for begin, end in load.refuses]
    scenario = Scenario(
        duration=DURATION_S,
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
    return result, redis_model


def measure(load: Load, name: str) -> Figures:
    """The figures for the table."""
    result, redis_model = simulate_load(load, name)
    total, seconds = result.total, result.intervals[-1].end
    accepted = [interval.attempts - interval.limited for interval in result.intervals]
    fullest = max(sum(accepted[begin : begin + MINUTE]) for begin in range(len(accepted)))
    served = [part.served for part in result.process_metrics]
    # An actor without an attempt counts as one whose first attempt came at the end.
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
        "exchanges_call": redis_model.exchanges / total.offered,
        "exchanges_s": redis_model.exchanges / seconds,
        "delay_ms": 1000 * redis_model.delays.percentile(99) if redis_model.exchanges else 0.0,
    }


def main() -> None:
    """Run the script as a command."""
    args = argument_parser("actors", __doc__ or "", 1).parse_args()
    table = {
        Entry(load.title, f"{load.actors:,}: {name}", ""): (load, name)
        for load in (QUICK if args.quick else LOADS)
        for name in load.runners
    }
    rounds, failures = measure_rounds(list(table), lambda entry: measure(*table[entry]), args.repeats)
    server = "none, everything is simulated"
    report_result("actors", "Many actors on one account", (), rounds, failures, server, args)


if __name__ == "__main__":
    main()
