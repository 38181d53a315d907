"""How much faster is the official SDK with headrace as its HTTP client?

    python benchmarks/sdk.py [--repeats 3] [--json FILE] [--quick]

500 calls of 47 ms in flight: with the SDK's default client, with its aiohttp transport, and over headrace
with the standard policies. Most of the remaining time is the SDK's: it transforms each request and creates
each answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

LATENCY_MS = 47
TITLE = "500 in flight"
LOOPS = ("asyncio", "uvloop")
RUNNERS = [
    Runner(client, loop) for client in ("openai", "openai-aiohttp", "openai-headrace") for loop in LOOPS
]

QUESTION = Question(
    "sdk",
    "The official SDK over headrace",
    [Load(TITLE, LATENCY_MS, 500, 5_000, RUNNERS)],
    [
        Target(
            "calls/s against openai's own client",
            "per_s",
            entry(TITLE, "openai-headrace", loop),
            entry(TITLE, "openai", loop),
            least=3,
        )
        for loop in LOOPS
    ],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
