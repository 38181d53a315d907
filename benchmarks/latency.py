"""How many calls per second, and which latency, if the server takes 47 ms?

    python benchmarks/latency.py [--repeats 3] [--json FILE] [--quick]

With 50 to 1,000 calls in flight. The targets apply to 500 in flight, and for the added latency to 200. httpx
is left out at 1,000, where it would take minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

LATENCY_MS = 47
FAST = (
    Runner("headrace-journal", "uvloop"),
    Runner("headrace", "trio"),
    Runner("headrace", "uvloop"),
    Runner("aiohttp", "uvloop"),
    Runner("pyreqwest", "uvloop"),
)
SLOW = (Runner("openai", "asyncio", 1_000), Runner("httpx", "asyncio", 1_000))
FLOORS = (Runner("floor", "uvloop"), Runner("floor-anyio", "trio"))
JOURNAL = Runner("headrace-journal", "trio")
LOOPS = ("trio", "uvloop")


def load(in_flight: int, *runners: Runner) -> Load:
    """A load with about twenty calls for each call in flight, but at most 10,000."""
    title = f"{in_flight:,} in flight"
    return Load(title, LATENCY_MS, in_flight, min(20 * in_flight, 10_000), runners, quick=in_flight == 500)


def targets(ours: str, loop: str) -> list[Target]:
    """The targets for headrace on an event loop."""
    many, some = "500 in flight", "200 in flight"
    own = entry(many, ours, loop)
    return [
        Target("calls/s against openai", "per_s", own, entry(many, "openai", "asyncio"), least=20),
        Target("calls/s against httpx", "per_s", own, entry(many, "httpx", "asyncio"), least=60),
        Target(
            "calls/s against the aiohttp recipe on uvloop",
            "per_s",
            own,
            entry(many, "aiohttp", "uvloop"),
            least=1.5,
        ),
        Target(
            f"mean latency above the server's {LATENCY_MS} ms",
            "mean_ms",
            entry(some, ours, loop),
            LATENCY_MS,
            minus=True,
            most=3,
            unit="ms",
        ),
    ]


QUESTION = Question(
    "latency",
    "Calls per second and latency if the server takes 47 ms",
    [
        load(50, *FAST, *SLOW),
        load(100, *FAST, *SLOW),
        load(200, JOURNAL, *FAST, *SLOW, *FLOORS),
        load(500, JOURNAL, *FAST, *SLOW, *FLOORS),
        load(1_000, *FAST, Runner("openai", "asyncio", 2_000)),
    ],
    [target for ours in ("headrace-journal", "headrace") for loop in LOOPS for target in targets(ours, loop)],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
