"""Does anything grow while a client makes a million calls, with faults, streams and cancellations among them?

    python benchmarks/soak.py [--seconds 300] [--json FILE] [--quick] [--trace]

One client with all policies of headrace[standard] but pace, over three endpoints, of which two fail one
attempt in ten: 500, 503, 429, connections cut, answers that stall. It makes calls in rounds: maps, of which
the last is left with calls in flight; streams that are read, left or cancelled; calls that are cancelled or
run into their deadline at any moment; calls with a type of answer. After each round nothing is under way, and
what the process has is counted. Growth is the slope of a line through all counts after the warm-up, times its
length.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import on_loop
from benchmarks.processes import FailedRunError, measured
from benchmarks.question import arguments, finish
from benchmarks.rounds import Entry, Figures, Round, Target
from benchmarks.server import serving
from benchmarks.soaking import IN_FLIGHT, soak

from headrace.testing.server import Behaviour, endpoint_process

NAME = "soak"
TITLE = "A million calls of all kinds by one client"
LOOPS = ("trio", "uvloop")
LOAD = "all kinds of calls, three endpoints"
FAULTY = Behaviour(
    latency=0.02, errors=0.1, faults=("500", "503", "429", "reset", "stall"), stall=0.2, seed=20261124
)
A_ROUND_S = 5.0
QUICK_S, QUICK_ROUNDS = 6.0, 6
WARM_UP_S = 70.0
"""At least the breaker's window of a minute: until then it keeps more numbers with each second."""

BOUNDS = {
    "memory": ("memory that grows", 4.0, "MB"),
    "objects": ("objects that grow in number", 2_000.0, "objects"),
    "held": ("what the policies hold that grows", 400.0, "objects"),
    "timers": ("timers, most of any round", 500.0, "timers"),
    "files": ("open files that are no idle connection, more than before", 0.0, "files"),
    "tasks": ("tasks, more than before", 0.0, "tasks"),
    "in_flight": ("places in flight not given back", 0.0, "places"),
    "idle": ("idle connections, most of any round", 3.0 * IN_FLIGHT, "connections"),
}
"""By figure: what it is, and the most that it may be."""


def figures_of(samples: Sequence[dict[str, float]]) -> Figures:
    """What a loop's samples come to."""
    last = samples[-1]
    warm = [each for each in samples if each["seconds"] > min(WARM_UP_S, last["seconds"] / 4)]

    def most(name: str) -> float:
        return max(each[name] for each in samples)

    def more(name: str) -> float:
        return max(each[name] for each in warm) - warm[0][name]

    return {
        "calls": last["calls"],
        "per_s": last["calls"] / last["seconds"],
        "streams": last["streams"],
        "cancelled": last["cancelled"],
        "failed": last["failed"],
        "first_mb": warm[0]["memory_mb"],
        "last_mb": last["memory_mb"],
        "memory": growth(warm, "memory_mb"),
        "objects": growth(warm, "objects"),
        "held": growth(warm, "held"),
        "timers": most("timers"),
        "files": more("files"),
        "tasks": more("tasks"),
        "in_flight": most("in_flight"),
        "idle": most("idle"),
    }


def growth(samples: Sequence[dict[str, float]], name: str) -> float:
    """By how much it grew from the first sample to the last, by the line that fits them all best."""
    times = [each["seconds"] for each in samples]
    slope, _ = statistics.linear_regression(times, [each[name] for each in samples])
    return slope * (times[-1] - times[0])


def targets() -> list[Target]:
    """What may grow, and by how much."""
    return [
        Target(text, figure, Entry(LOAD, "headrace", loop), most=most, unit=unit)
        for loop in LOOPS
        for figure, (text, most, unit) in BOUNDS.items()
    ]


@contextlib.contextmanager
def endpoints() -> Iterator[tuple[str, list[str], str]]:
    """A quick one, two that are faulty, and what they are."""
    with serving() as server, start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        faulty = [
            stack.enter_context(portal.wrap_async_context_manager(endpoint_process(FAULTY))).base_url
            for _ in range(2)
        ]
        yield server.base_url(0), faulty, f"{server.name} and two embedded endpoints"


def main() -> None:
    """Run as a command, and with --loop as the process that makes the calls."""
    parser = arguments(NAME, __doc__ or "", repeats=1)
    parser.add_argument("--seconds", type=float, default=300.0, help="on each loop (%(default)s)")
    parser.add_argument("--trace", action="store_true", help="say where memory was allocated that grew")
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--urls", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.loop:
        quick, *faulty = asked.urls.split(",")
        run = functools.partial(soak, quick, faulty, asked.seconds, asked.rounds, trace=asked.trace)
        on_loop(asked.loop, run)
        return
    seconds = QUICK_S if asked.quick else asked.seconds
    rounds = QUICK_ROUNDS if asked.quick else max(QUICK_ROUNDS, round(seconds / A_ROUND_S))
    found: Round = {}
    failures: dict[Entry, str] = {}
    samples: dict[str, list[dict[str, float]]] = {}
    with endpoints() as (quick, faulty, server):
        for loop in LOOPS:
            entry = Entry(LOAD, "headrace", loop)
            try:
                seen: dict[str, Any] = measured(
                    *("-m", f"benchmarks.{NAME}", "--loop", loop, "--urls", ",".join([quick, *faulty])),
                    *("--seconds", str(seconds), "--rounds", rounds, *(["--trace"] if asked.trace else [])),
                    limit=seconds * 2 + 120,
                )
            except FailedRunError as error:
                failures[entry] = str(error)
                continue
            samples[loop] = seen["samples"]
            found[entry] = figures_of(seen["samples"])
            print("\n".join([f"{loop}: {found[entry]['calls']:,} calls", *seen["grown"]]), flush=True)
    result = finish(NAME, TITLE, targets(), [found], failures, server, asked, samples=samples)
    if failures or not all(verdict["met"] for verdict in result["targets"]):
        sys.exit("benchmarks/soak.py: not flat; --trace says where memory was allocated that grew")


if __name__ == "__main__":
    main()
