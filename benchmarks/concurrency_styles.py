"""How long do 5,000 calls of 47 ms take one after the other, in threads, on asyncio and with headrace?

    python benchmarks/concurrency_styles.py [--repeats 3] [--json FILE] [--quick]

Without concurrency only 100 calls are made, and the time for all is extrapolated.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, run_question

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
    "concurrency_styles",
    "The same 5,000 calls of 47 ms",
    [
        Load("one at a time", LATENCY_MS, 1, 100, (Runner("sequential", "none"),)),
        Load("100 at a time", LATENCY_MS, 100, CALLS, TOGETHER),
        Load("500 at a time", LATENCY_MS, 500, CALLS, TOGETHER, quick=False),
    ],
    extrapolate_to=CALLS,
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
