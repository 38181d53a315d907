"""How many chunks per second, over 200 streams at once?

    python benchmarks/streaming.py [--repeats 3] [--json FILE] [--quick]

A stream has 200 chunks. Either the server sends them as fast as possible, several per packet, to measure the
cost of reading them. Or it sends one every 5 ms in its own packet, like a model; then the maximum is 40,000
per second. Slow clients read fewer streams of the first kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

FAST, PACED = "as fast as possible", "one chunk every 5 ms"
CLIENTS = (
    Runner("headrace-stream", "trio"),
    Runner("headrace-stream", "uvloop"),
    Runner("aiohttp-stream", "uvloop"),
    Runner("openai-stream", "asyncio", 200),
    Runner("openai-aiohttp-stream", "asyncio", 200),
)

QUESTION = Question(
    "streaming",
    "Chunks of 200 streams",
    [
        Load(FAST, "stream", 200, 1_000, CLIENTS),
        Load(PACED, "paced", 200, 200, CLIENTS),
    ],
    [
        Target(
            "chunks/s against openai",
            "per_s",
            entry(FAST, "headrace-stream", loop),
            entry(FAST, "openai-stream", "asyncio"),
            least=10,
        )
        for loop in ("trio", "uvloop")
    ],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
