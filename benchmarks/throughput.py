"""How many calls a second, with all policies on, beside the peers: at no latency, and at 47 ms.

    python benchmarks/throughput.py [--calls 20000] [--repeats 3] [--json FILE]

Each peer runs in a process of its own, one after the other, all of them in each round; what is compared are
the rounds' ratios, for the speed of a shared machine changes from minute to minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.circumstances import circumstances
from benchmarks.processes import FailedRunError, measured
from benchmarks.server import serving
from benchmarks.table import throughput_tables


class Question(NamedTuple):
    """One load, and how many times faster than which peers headrace has to be under it."""

    title: str
    latency_ms: int
    in_flight: int
    targets: dict[str, float]


class Contestant(NamedTuple):
    """A peer on an event loop; a slow one makes fewer calls, for its rate does not depend on their number."""

    peer: str
    loop: str
    policies: str = "all"
    slow: bool = False


QUESTIONS = (
    Question("no latency, 100 calls in flight", 0, 100, {"aiohttp": 1.5, "httpx": 15.0}),
    Question("47 ms latency, 500 calls in flight", 47, 500, {"httpx": 40.0}),
)
CONTESTANTS = (
    Contestant("headrace", "trio"),
    Contestant("headrace", "asyncio"),
    Contestant("headrace", "uvloop"),
    Contestant("aiohttp", "asyncio"),
    Contestant("aiohttp", "uvloop"),
    Contestant("httpx", "asyncio", slow=True),
    Contestant("httpx", "uvloop", slow=True),
    Contestant("openai", "asyncio", slow=True),
    Contestant("pyreqwest", "asyncio"),
    Contestant("pyreqwest", "uvloop"),
    Contestant("headrace", "trio", "none"),
    Contestant("headrace", "asyncio", "none"),
    Contestant("headrace", "uvloop", "none"),
)
SLOW_SHARE = 10
LEAST_WAVES = 4
"""A slow peer makes a tenth of the calls, but fills all its connections at least this many times."""


def calls_of(contestant: Contestant, question: Question, calls: int) -> int:
    """How many calls a contestant makes where ``calls`` are asked for."""
    fewer = max(calls // SLOW_SHARE, LEAST_WAVES * question.in_flight)
    return min(calls, fewer) if contestant.slow else calls


def answer(
    question: Question, base_url: str, contestants: Sequence[Contestant], calls: int, repeats: int
) -> dict[str, Any]:
    """Run all rounds of a question."""
    rounds: list[dict[Contestant, dict[str, float]]] = []
    failures: dict[Contestant, str] = {}
    for number in range(1, repeats + 1):
        figures: dict[Contestant, dict[str, float]] = {}
        for contestant in contestants:
            if contestant in failures:
                continue
            try:
                figures[contestant] = run(contestant, question, base_url, calls)
            except FailedRunError as error:
                failures[contestant] = str(error)
            said = failures.get(contestant) or f"{figures[contestant]['per_s']:,.0f} calls/s"
            print(f"{question.title}, round {number}: {' '.join(contestant[:3])}: {said}", flush=True)
        rounds.append(figures)
    return {
        "title": question.title,
        "rows": [row(contestant, rounds) for contestant in contestants if contestant not in failures],
        "ratios": [
            ratio(contestant, rounds, question.targets.get(contestant.peer))
            for contestant in contestants
            if contestant.peer != "headrace" and not {contestant, ours(contestant)} & failures.keys()
        ],
        "failures": {" ".join(contestant[:2]): why for contestant, why in failures.items()},
    }


def run(contestant: Contestant, question: Question, base_url: str, calls: int) -> dict[str, float]:
    """Measure a contestant once."""
    return measured(
        *("-m", "benchmarks.peers", contestant.peer, "--url", base_url, "--loop", contestant.loop),
        *("--calls", calls_of(contestant, question, calls), "--in-flight", question.in_flight),
        *("--policies", contestant.policies),
    )


def row(contestant: Contestant, rounds: Sequence[dict[Contestant, dict[str, float]]]) -> dict[str, Any]:
    """A contestant's medians over the rounds."""
    figures = [figures[contestant] for figures in rounds]
    medians = {name: round(statistics.median(each[name] for each in figures), 2) for name in figures[0]}
    return {"peer": contestant.peer, "loop": contestant.loop, "policies": contestant.policies, **medians}


def ours(contestant: Contestant) -> Contestant:
    """What a peer is compared with: headrace, all policies on, on the same loop."""
    return Contestant("headrace", contestant.loop)


def ratio(
    contestant: Contestant, rounds: Sequence[dict[Contestant, dict[str, float]]], target: float | None
) -> dict[str, Any]:
    """How many times as many calls a second headrace makes on the same loop, round by round."""
    ratios = [figures[ours(contestant)]["per_s"] / figures[contestant]["per_s"] for figures in rounds]
    return {
        "peer": contestant.peer,
        "loop": contestant.loop,
        "median": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
        "target": target,
    }


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="benchmarks/throughput.py", description="Calls a second.")
    parser.add_argument("--calls", type=int, default=20_000, help="slow peers make fewer (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    asked = parser.parse_args()
    contestants = [each for each in CONTESTANTS if importlib.util.find_spec(each.peer)]
    with serving([question.latency_ms for question in QUESTIONS]) as server:
        answers = [
            answer(question, server.base_urls[question.latency_ms], contestants, asked.calls, asked.repeats)
            for question in QUESTIONS
        ]
    result = {
        "circumstances": circumstances() | {"server": server.name},
        "repeats": asked.repeats,
        "questions": answers,
    }
    print(throughput_tables(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
