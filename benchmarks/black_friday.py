"""5,000 calls of 800 ms, all at once, from a cold client: how long until the last answer?

    python benchmarks/black_friday.py [--repeats 3] [--json FILE] [--quick]

Over https, as endpoints have it, and over plain http. Making the client and all connections counts. Physics
asks for 0.8 s. Whoever is not done after 40 s is stopped. openai as it comes opens 1,000 connections at most.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, ask, entry
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
    """How near to physics somebody is asked to come."""
    return Target(
        f"wall clock against the 0.8 s that physics asks for, {load}",
        "wall_s",
        entry(load, client, loop),
        LATENCY_MS / 1000,
        most=most,
    )


def against_peers(loop: str) -> list[Target]:
    """What is asked of headrace over https beside the others, and of its memory."""
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
    ask(QUESTION, __doc__)
