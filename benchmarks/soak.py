"""Does memory grow while one client makes a million calls, with faults, streams and cancellations?

    python benchmarks/soak.py [--seconds 300] [--json FILE] [--quick] [--trace]

One client has all policies of headrace[standard] except pace, and three endpoints. Two of them fail one
attempt in ten: 500, 503, 429, cut connections, stalls. The client makes calls in rounds: maps, the last of
which is left with calls in flight; streams that are read, left or cancelled; calls that are cancelled or
exceed their deadline at any moment; calls with structured output. After each round no call is in flight, and
the resources of the process are counted. Growth is the slope of the regression line through all counts after
the warm-up, times its length.
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

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measurement import run_on_loop
from benchmarks.processes import MeasurementError, run_measurement
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Round, Target
from benchmarks.server import run_server
from benchmarks.soak_worker import IN_FLIGHT, soak

from headrace.testing.server import Behaviour, endpoint_process

NAME = "soak"
TITLE = "A million calls of all kinds by one client"
LOOPS = ("trio", "uvloop")
LOAD = "all kinds of calls, three endpoints"
FAULTY = Behaviour(
    latency=0.02, errors=0.1, faults=("500", "503", "429", "reset", "stall"), stall=0.2, seed=20261124
)
ROUND_S = 5.0
QUICK_S, QUICK_ROUNDS = 6.0, 6
WARM_UP_S = 70.0
"""Longer than the breaker's window of a minute, in which its state grows."""

BOUNDS = {
    "memory": ("growth of memory", 4.0, "MB"),
    "objects": ("growth of the number of objects", 2_000.0, "objects"),
    "held": ("growth of objects that the policies hold", 400.0, "objects"),
    "timers": ("highest number of timers", 500.0, "timers"),
    "files": ("increase of open files without idle connections", 0.0, "files"),
    "tasks": ("increase of tasks", 0.0, "tasks"),
    "in_flight": ("calls still in flight", 0.0, "calls"),
    "idle": ("highest number of idle connections", 3.0 * IN_FLIGHT, "connections"),
}
"""For each figure: its description, its bound and its unit."""


def figures_of(samples: Sequence[dict[str, float]]) -> Figures:
    """The figures from the samples of an event loop."""
    last = samples[-1]
    warm = [each for each in samples if each["seconds"] > min(WARM_UP_S, last["seconds"] / 4)]

    def most(name: str) -> float:
        return max(each[name] for each in samples)

    def increase(name: str) -> float:
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
        "files": increase("files"),
        "tasks": increase("tasks"),
        "in_flight": most("in_flight"),
        "idle": most("idle"),
    }


def growth(samples: Sequence[dict[str, float]], name: str) -> float:
    """The growth from the first sample to the last, by linear regression."""
    times = [each["seconds"] for each in samples]
    slope, _ = statistics.linear_regression(times, [each[name] for each in samples])
    return slope * (times[-1] - times[0])


def targets() -> list[Target]:
    """The targets: bounds for all figures, on each event loop."""
    return [
        Target(text, figure, Entry(LOAD, "headrace", loop), most=most, unit=unit)
        for loop in LOOPS
        for figure, (text, most, unit) in BOUNDS.items()
    ]


@contextlib.contextmanager
def endpoints() -> Iterator[tuple[str, list[str], str]]:
    """Run a fast endpoint and two faulty ones; yields their URLs and a description."""
    with run_server() as server, start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        faulty = [
            stack.enter_context(portal.wrap_async_context_manager(endpoint_process(FAULTY))).base_url
            for _ in range(2)
        ]
        yield server.base_url(0), faulty, f"{server.name} and two embedded endpoints"


def main() -> None:
    """Run the script as a command; with --loop it is the process that makes the calls."""
    parser = argument_parser(NAME, __doc__ or "", repeats=1)
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="seconds on each event loop (%(default)s)"
    )
    parser.add_argument("--trace", action="store_true", help="show where growing memory was allocated")
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--urls", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        quick, *faulty = args.urls.split(",")
        run = functools.partial(soak, quick, faulty, args.seconds, args.rounds, trace=args.trace)
        run_on_loop(args.loop, run)
        return
    seconds = QUICK_S if args.quick else args.seconds
    rounds = QUICK_ROUNDS if args.quick else max(QUICK_ROUNDS, round(seconds / ROUND_S))
    found: Round = {}
    failures: dict[Entry, str] = {}
    samples: dict[str, list[dict[str, float]]] = {}
    with endpoints() as (quick, faulty, server):
        for loop in LOOPS:
            entry = Entry(LOAD, "headrace", loop)
            try:
                seen: dict[str, Any] = run_measurement(
                    *("-m", f"benchmarks.{NAME}", "--loop", loop, "--urls", ",".join([quick, *faulty])),
                    *("--seconds", str(seconds), "--rounds", rounds, *(["--trace"] if args.trace else [])),
                    limit=seconds * 2 + 120,
                )
            except MeasurementError as error:
                failures[entry] = str(error)
                continue
            samples[loop] = seen["samples"]
            found[entry] = figures_of(seen["samples"])
            print("\n".join([f"{loop}: {found[entry]['calls']:,} calls", *seen["grown"]]), flush=True)
    result = report_result(NAME, TITLE, targets(), [found], failures, server, args, samples=samples)
    if failures or not all(verdict["met"] for verdict in result["targets"]):
        sys.exit("benchmarks/soak.py: something grew; --trace shows where memory was allocated")


if __name__ == "__main__":
    main()
