"""5,000 calls of 800 ms, all at once, from a cold client: how long until the last answer?

    python benchmarks/black_friday.py [--repeats 3] [--json FILE] [--quick]

Over https and over plain http. The time includes creating the client and all connections. The minimum is 0.8
s. A client that has not finished after 40 s is stopped. By default openai opens at most 1,000 connections.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

LATENCY_MS = 800
LIMIT_S = 40.0
HTTPS, HTTP = "over https", "over plain http"
LOOPS = ("trio", "uvloop")
BOTH = (
    *(Runner(client, loop) for client in ("headrace-journal", "headrace") for loop in LOOPS),
    Runner("headrace", "asyncio"),
    Runner("aiohttp", "asyncio"),
    Runner("aiohttp", "uvloop"),
    Runner("pyreqwest", "uvloop"),
)
OVER_HTTPS = (
    *BOTH,
    Runner("headrace-http1", "trio"),
    Runner("headrace-http1", "uvloop"),
    Runner("openai", "asyncio"),
    Runner("openai-headrace", "asyncio"),
    Runner("httpx", "asyncio"),
    Runner("httpx-h2", "asyncio"),
    Runner("floor-h2", "uvloop"),
)
OVER_HTTP = (*BOTH, Runner("floor", "uvloop"), Runner("floor-anyio", "trio"))


def wall_clock(load: str, client: str, loop: str, most: float) -> Target:
    """The target for the wall clock, relative to the minimum of 0.8 s."""
    return Target(
        f"wall clock against the minimum of 0.8 s, {load}",
        "wall_s",
        entry(load, client, loop),
        LATENCY_MS / 1000,
        most=most,
    )


def against_peers(loop: str) -> list[Target]:
    """The targets over https: speed against other clients, and memory."""
    own = entry(HTTPS, "headrace", loop)
    return [
        Target("times as fast as pyreqwest", "per_s", own, entry(HTTPS, "pyreqwest", "uvloop"), least=1.6),
        Target(
            "times as fast as the aiohttp recipe on uvloop",
            "per_s",
            own,
            entry(HTTPS, "aiohttp", "uvloop"),
            least=4.5,
        ),
        Target("peak memory", "peak_mb", own, most=115, unit="MB"),
    ]


QUESTION = Question(
    "black_friday",
    "5,000 calls of 800 ms at once, from a cold client",
    [
        Load(HTTPS, LATENCY_MS, 5_000, 5_000, OVER_HTTPS, tls=True, cold=True, limit=LIMIT_S),
        Load(HTTP, LATENCY_MS, 5_000, 5_000, OVER_HTTP, cold=True, limit=LIMIT_S, quick=False),
    ],
    [
        *(
            wall_clock(load, client, loop, most)
            for load, most in ((HTTPS, 1.9), (HTTP, 1.75))
            for client in ("headrace-journal", "headrace")
            for loop in LOOPS
        ),
        *(target for loop in LOOPS for target in against_peers(loop)),
    ],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
