"""How many calls a second, and how late are answers, where the server takes 47 ms?

    python benchmarks/latency.py [--repeats 3] [--json FILE] [--quick]

By calls in flight: 50 to 1,000. Targets are read at 500, of the latency that is added at 200. httpx is left
out at 1,000, where it would take minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask, entry
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
    """Some twenty answers for each place in flight, but no more than 10,000."""
    title = f"{in_flight:,} in flight"
    return Load(title, LATENCY_MS, in_flight, min(20 * in_flight, 10_000), runners, quick=in_flight == 500)


def targets(ours: str, loop: str) -> list[Target]:
    """What is asked of headrace on a loop."""
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
    "Calls a second and lateness of answers where the server takes 47 ms",
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
    ask(QUESTION, __doc__)
