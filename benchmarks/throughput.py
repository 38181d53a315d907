"""How many calls per second, and how much CPU time per call, if the server answers at once?

    python benchmarks/throughput.py [--repeats 3] [--json FILE] [--quick]

With 1, 10, 100 and 1,000 calls in flight. There is no latency, so this is mostly the CPU time of a call. All
clients are measured at 100 in flight, where the targets apply; at the others only those in the plots.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
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
    """The same runners, but slow ones make at least two calls for each call in flight."""
    return [runner._replace(calls=runner.calls and 2 * runner.calls) for runner in runners]


def targets(ours: str, loop: str) -> list[Target]:
    """The targets for headrace on an event loop."""
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
            "CPU per call against the bare anyio loop on the same event loop",
            "cpu_us",
            own,
            entry(HUNDRED, "floor-anyio", loop),
            most=1.6,
        ),
    ]


QUESTION = Question(
    "throughput",
    "Calls per second if the server answers at once",
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
    run_question(QUESTION, __doc__)
