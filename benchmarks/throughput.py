"""How many calls a second, and how much CPU time a call, where the server answers at once?

    python benchmarks/throughput.py [--repeats 3] [--json FILE] [--quick]

By calls in flight: 1, 10, 100, 1,000. Nothing is waited for here, so this is the CPU time of a call and
little else. All are there at 100 in flight, where the targets are read; at the others, who makes a curve.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask, entry
from benchmarks.rounds import Target

CURVE = (
    Runner("headrace", "trio"),
    Runner("headrace", "uvloop"),
    Runner("aiohttp", "uvloop"),
    Runner("pyreqwest", "uvloop"),
    Runner("httpx", "asyncio", 1_000),
    Runner("openai", "asyncio", 1_000),
    Runner("floor", "uvloop"),
)
ALL = (
    Runner("headrace-journal", "trio"),
    Runner("headrace-journal", "asyncio"),
    Runner("headrace-journal", "uvloop"),
    *CURVE,
    Runner("headrace", "asyncio"),
    Runner("headrace-bare", "trio"),
    Runner("headrace-bare", "uvloop"),
    Runner("aiohttp", "asyncio"),
    Runner("openai-aiohttp", "asyncio", 1_000),
    Runner("floor-anyio", "trio"),
    Runner("floor-anyio", "uvloop"),
)
HUNDRED = "100 in flight"


def twice(runners: Sequence[Runner]) -> list[Runner]:
    """The same, where slow ones make more calls: at least two for each place in flight."""
    return [runner._replace(calls=runner.calls and 2 * runner.calls) for runner in runners]


def targets(ours: str, loop: str) -> list[Target]:
    """What is asked of headrace on a loop."""
    own = entry(HUNDRED, ours, loop)
    return [
        Target(
            "calls/s against the aiohttp recipe on uvloop",
            "per_s",
            own,
            entry(HUNDRED, "aiohttp", "uvloop"),
            least=2,
        ),
        Target("calls/s against openai", "per_s", own, entry(HUNDRED, "openai", "asyncio"), least=30),
        Target("calls/s against httpx", "per_s", own, entry(HUNDRED, "httpx", "asyncio"), least=25),
        Target(
            "CPU a call against the bare anyio loop on the same event loop",
            "cpu_us",
            own,
            entry(HUNDRED, "floor-anyio", loop),
            most=1.6,
        ),
    ]


QUESTION = Question(
    "throughput",
    "Calls a second where the server answers at once",
    [
        Load("1 in flight", 0, 1, 2_000, CURVE, quick=False),
        Load("10 in flight", 0, 10, 5_000, CURVE, quick=False),
        Load(HUNDRED, 0, 100, 10_000, ALL),
        Load("1,000 in flight", 0, 1_000, 10_000, twice(CURVE), quick=False),
    ],
    [
        target
        for ours in ("headrace-journal", "headrace")
        for loop in ("trio", "uvloop")
        for target in targets(ours, loop)
    ],
)


if __name__ == "__main__":
    ask(QUESTION, __doc__)
