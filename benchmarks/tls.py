"""What does TLS cost: calls over connections that are open, and opening them?

    python benchmarks/tls.py [--repeats 3] [--json FILE] [--quick]

nginx has a certificate of a certificate authority made for the run; everybody verifies it. Needs nginx.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.question import Load, Player, Question, ask
from benchmarks.server import NoServerError

HEADRACE = (
    Player("headrace-journal", "uvloop"),
    Player("headrace", "trio"),
    Player("headrace", "asyncio"),
    Player("headrace", "uvloop"),
)
PEERS = (Player("aiohttp", "asyncio"), Player("aiohttp", "uvloop"), Player("pyreqwest", "uvloop"))
SLOW = (Player("httpx", "asyncio", 1_000), Player("openai", "asyncio", 1_000))

QUESTION = Question(
    "tls",
    "Calls over TLS",
    [
        Load("100 connections that are open", 0, 100, 10_000, (*HEADRACE, *PEERS, *SLOW)),
        Load("500 connections, a call over each", 0, 500, 500, (*HEADRACE, *PEERS), cold=True, quick=False),
    ],
    tls=True,
)


def main() -> None:
    """Run as a command."""
    try:
        ask(QUESTION, __doc__)
    except NoServerError as error:
        print(f"benchmarks/tls.py: {error}")


if __name__ == "__main__":
    main()
