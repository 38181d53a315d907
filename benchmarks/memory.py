"""Does memory grow, or does the rate fall, with the size of the input? Bulk runs of 1,000 to 1,000,000 items.

    python benchmarks/memory.py [--repeats 3] [--json FILE] [--quick]

From file to file, with journal and standard policies, 100 calls in flight, each run in its own process. The
run of 1,000,000 items takes place only once, in the first round.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

RUNNERS = (Runner("headrace-journal", "uvloop"),)
NUMBERS = (1_000, 10_000, 100_000, 1_000_000)
FEWER = entry("10,000 items", "headrace-journal", "uvloop")
MOST = entry("1,000,000 items", "headrace-journal", "uvloop")

QUESTION = Question(
    "memory",
    "Bulk runs of 1,000 to 1,000,000 items",
    [
        Load(f"{number:,} items", 0, 100, number, RUNNERS, once=number > 100_000, quick=number <= 10_000)
        for number in NUMBERS
    ],
    [
        Target(
            "peak memory above that of 10,000 items", "peak_mb", MOST, FEWER, minus=True, most=20, unit="MB"
        ),
        Target("calls/s against those of 10,000 items", "per_s", MOST, FEWER, least=0.9),
    ],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
