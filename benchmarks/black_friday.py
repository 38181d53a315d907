"""5,000 calls of 800 ms, all at once, from a cold client: how long until the last answer?

    python benchmarks/black_friday.py [--repeats 3] [--json FILE] [--quick]

Making the client and all connections counts. Physics asks for 0.8 s. Who is not done after 40 s is stopped.
openai opens 1,000 connections at most, as it comes.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Player, Question, ask, entry
from benchmarks.rounds import Target

LATENCY_MS = 800
TITLE = "5,000 at once"
PLAYERS = (
    Player("headrace-journal", "trio"),
    Player("headrace-journal", "uvloop"),
    Player("headrace", "trio"),
    Player("headrace", "asyncio"),
    Player("headrace", "uvloop"),
    Player("aiohttp", "asyncio"),
    Player("aiohttp", "uvloop"),
    Player("pyreqwest", "uvloop"),
    Player("openai", "asyncio"),
    Player("httpx", "asyncio"),
    Player("floor", "uvloop"),
    Player("floor-anyio", "trio"),
)

QUESTION = Question(
    "black_friday",
    "5,000 calls of 800 ms at once, from a cold client",
    [Load(TITLE, LATENCY_MS, 5_000, 5_000, PLAYERS, cold=True, limit=40.0)],
    [
        Target(
            "wall clock against the 0.8 s that physics asks for",
            "wall_s",
            entry(TITLE, contestant, loop),
            LATENCY_MS / 1000,
            most=1.75,
        )
        for contestant in ("headrace-journal", "headrace")
        for loop in ("trio", "uvloop")
    ],
)


if __name__ == "__main__":
    ask(QUESTION, __doc__)
