"""How many calls per second over https, at which cost and latency, with HTTP/1.1 and with HTTP/2?

    python benchmarks/tls.py [--repeats 3] [--json FILE] [--quick]

This needs nginx. It has a certificate of a new certificate authority, which all clients verify. It uses
HTTP/2 with clients that support it: headrace, pyreqwest, httpx with http2=True, and the floor. aiohttp,
httpx and openai by default, and headrace with http2=False, use HTTP/1.1.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Question, Runner, entry, run_question
from benchmarks.rounds import Target

LATENCY_MS = 47
HUNDRED, THOUSAND = "100 in flight", "1,000 in flight"
WITH_LATENCY = f"500 in flight, {LATENCY_MS} ms"
COLD = "500 at once, from a cold client"
LOOPS = ("trio", "uvloop")

OURS = tuple(Runner(client, loop) for client in ("headrace", "headrace-http1") for loop in LOOPS)
PEERS = (Runner("aiohttp", "uvloop"), Runner("pyreqwest", "uvloop"), Runner("floor-h2", "uvloop"))
ALL = (
    Runner("headrace-journal", "trio"),
    Runner("headrace-journal", "uvloop"),
    Runner("headrace", "asyncio"),
    *OURS,
    Runner("aiohttp", "asyncio"),
    *PEERS,
    Runner("httpx", "asyncio", 1_000),
    Runner("httpx-h2", "asyncio", 1_000),
    Runner("openai", "asyncio", 1_000),
    Runner("openai-headrace", "asyncio", 2_000),
)


def targets(loop: str) -> list[Target]:
    """The targets for headrace on an event loop."""
    rates = [
        Target(
            f"calls/s against pyreqwest, {load}",
            "per_s",
            entry(load, "headrace", loop),
            entry(load, "pyreqwest", "uvloop"),
            least=least,
        )
        for load, least in ((HUNDRED, 1.4), (THOUSAND, 1.3))
    ]
    costs = [
        Target(
            f"CPU per call against the bare Protocol over libnghttp2, {load}",
            "cpu_us",
            entry(load, "headrace", loop),
            entry(load, "floor-h2", "uvloop"),
            most=1.9,
        )
        for load in (HUNDRED, THOUSAND)
    ]
    late = Target(
        f"mean latency above the server's {LATENCY_MS} ms, 500 in flight",
        "mean_ms",
        entry(WITH_LATENCY, "headrace", loop),
        LATENCY_MS,
        minus=True,
        most=3,
        unit="ms",
    )
    return [*rates, *costs, late]


QUESTION = Question(
    "tls",
    "Calls over https, with HTTP/1.1 and HTTP/2",
    [
        Load(HUNDRED, 0, 100, 20_000, ALL, tls=True),
        Load(THOUSAND, 0, 1_000, 20_000, (*OURS, *PEERS), tls=True, quick=False),
        Load(WITH_LATENCY, LATENCY_MS, 500, 10_000, (*OURS, *PEERS), tls=True, quick=False),
        Load(COLD, 0, 500, 500, (*OURS, *PEERS), tls=True, cold=True, quick=False),
    ],
    [target for loop in LOOPS for target in targets(loop)],
)


if __name__ == "__main__":
    run_question(QUESTION, __doc__)
