"""The same 5,000 calls of 47 ms one after the other, in threads, on asyncio, and with headrace.

    python benchmarks/approaches.py [--repeats 3] [--json FILE] [--quick]

One after the other only a hundred are made, and the time for all is extrapolated; the table says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask

CALLS = 5_000
LATENCY_MS = 47
TOGETHER = (
    Runner("threads", "none"),
    Runner("openai", "asyncio"),
    Runner("aiohttp", "asyncio"),
    Runner("headrace-journal", "uvloop"),
    Runner("headrace", "trio"),
    Runner("headrace", "uvloop"),
)

QUESTION = Question(
    "approaches",
    "The same 5,000 calls of 47 ms",
    [
        Load("one at a time", LATENCY_MS, 1, 100, (Runner("sequential", "none"),)),
        Load("100 at a time", LATENCY_MS, 100, CALLS, TOGETHER),
        Load("500 at a time", LATENCY_MS, 500, CALLS, TOGETHER, quick=False),
    ],
    whole=CALLS,
)


if __name__ == "__main__":
    ask(QUESTION, __doc__)
