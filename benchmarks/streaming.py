"""How many pieces of streamed answers a second, over 200 streams at once?

    python benchmarks/streaming.py [--repeats 3] [--json FILE] [--quick]

A stream has 200 pieces. Either the server sends them as fast as it can, several in a packet, which asks for
the cost of reading them; or every 5 ms one in a packet of its own, as a model does, where no more than 40,000
a second can come. Who is slow reads fewer streams of the first kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask, entry
from benchmarks.rounds import Target

FAST, PACED = "as fast as they come", "every 5 ms a piece"
CLIENTS = (
    Runner("headrace-stream", "trio"),
    Runner("headrace-stream", "uvloop"),
    Runner("aiohttp-stream", "uvloop"),
    Runner("openai-stream", "asyncio", 200),
    Runner("openai-aiohttp-stream", "asyncio", 200),
)

QUESTION = Question(
    "streaming",
    "Pieces of 200 streams at once",
    [
        Load(FAST, "stream", 200, 1_000, CLIENTS),
        Load(PACED, "paced", 200, 200, CLIENTS),
    ],
    [
        Target(
            "pieces/s against openai",
            "per_s",
            entry(FAST, "headrace-stream", loop),
            entry(FAST, "openai-stream", "asyncio"),
            least=10,
        )
        for loop in ("trio", "uvloop")
    ],
)


if __name__ == "__main__":
    ask(QUESTION, __doc__)
