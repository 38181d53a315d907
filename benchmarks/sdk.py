"""What does the official SDK gain from headrace as its HTTP client?

    python benchmarks/sdk.py [--repeats 3] [--json FILE] [--quick]

500 calls of 47 ms in flight: with the SDK's own client, over aiohttp as it offers, and over headrace with the
standard policies. Most of what remains is the SDK's own: it transforms each request and builds each answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask, entry
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
    ask(QUESTION, __doc__)
