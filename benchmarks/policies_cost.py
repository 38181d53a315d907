"""How much CPU time does each policy of headrace[standard] cost, and how much do all of them?

    python benchmarks/policies_cost.py [--repeats 5] [--json FILE] [--quick]

In one process, over real sockets without latency, clients without policies, with each policy and with all
policies make a few hundred calls each, in turns. So the compared calls are less than seconds apart.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.clients.headrace_map import bodies, read_answer
from benchmarks.measurement import KEY, LOOPS, TIMEOUT_S, cpu_seconds, run_on_loop
from benchmarks.policies import standard_policies
from benchmarks.processes import MeasurementError, run_measurement
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Round, Target
from benchmarks.server import run_server

from headrace import Client, Policy
from headrace_pace import Pace

NAME = "policies_cost"
TITLE = "CPU time of the policies"
IN_FLIGHT = 100
CALLS_PER_TURN = 500
TURNS = 20
QUICK_TURNS = 1
LOAD = "100 in flight, no latency"
ALL = "all standard policies"
MOST_US = 15.0


def setups() -> dict[str, Sequence[Policy]]:
    """The policies of each client, by its name in the table."""
    each = {policy.name: [policy] for policy in standard_policies()}
    far_off = Pace(requests_per_minute=1e9, tokens_per_minute=1e12)
    return {"none": [], **each, "pace, with limits": [far_off], ALL: standard_policies()}


async def take_turns(base_url: str, turns: int) -> None:
    """Print each setup's CPU time and rate as JSON."""
    cpu, wall = dict.fromkeys(setups(), 0.0), dict.fromkeys(setups(), 0.0)
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                Client(
                    base_url=base_url,
                    api_key=KEY,
                    max_in_flight=IN_FLIGHT,
                    timeout=TIMEOUT_S,
                    policies=policies,
                )
            )
            for name, policies in setups().items()
        }
        for client in clients.values():
            await make_calls(client, IN_FLIGHT)
        order = deque(clients.items())
        for _ in range(turns):
            order.rotate(1)
            for name, client in order:
                used, began = cpu_seconds(), time.perf_counter()
                await make_calls(client, CALLS_PER_TURN)
                cpu[name] += cpu_seconds() - used
                wall[name] += time.perf_counter() - began
    calls = turns * CALLS_PER_TURN
    figures = {
        name: {
            "cpu_us": round(cpu[name] / calls * 1e6, 2),
            "cost_us": round((cpu[name] - cpu["none"]) / calls * 1e6, 2),
            "per_s": round(calls / wall[name], 1),
        }
        for name in clients
    }
    print(json.dumps(figures))


async def make_calls(client: Client, calls: int) -> None:
    """Make calls and check their answers."""
    async with client.map(bodies(calls)) as outcomes:
        async for outcome in outcomes:
            read_answer(outcome.unwrap()).check()


def measure(base_url: str, turns: int, repeats: int) -> tuple[list[Round], dict[Entry, str]]:
    """Measure on all loops, round by round."""
    rounds: list[Round] = []
    failures: dict[Entry, str] = {}
    for number in range(1, repeats + 1):
        figures: Round = {}
        for loop in LOOPS:
            try:
                found: dict[str, Figures] = run_measurement(
                    *("-m", f"benchmarks.{NAME}", "--url", base_url, "--loop", loop, "--turns", turns)
                )
            except MeasurementError as error:
                failures[Entry(LOAD, "all setups", loop)] = str(error)
                continue
            figures |= {Entry(LOAD, name, loop): each for name, each in found.items()}
            print(f"round {number}: {loop}: {ALL}: {found[ALL]['cost_us']} µs per call", flush=True)
        rounds.append(figures)
    return rounds, failures


def targets() -> list[Target]:
    """The targets for all policies together."""
    return [
        Target(
            "CPU time of all standard policies together",
            "cost_us",
            Entry(LOAD, ALL, loop),
            most=MOST_US,
            unit="µs per call",
        )
        for loop in LOOPS
    ]


def main() -> None:
    """Run the script as a command; with --url it is the process that makes the calls."""
    parser = argument_parser(NAME, __doc__ or "", repeats=5)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--turns", type=int, default=TURNS, help="turns of each client per round (%(default)s)"
    )
    args = parser.parse_args()
    if args.url:
        run_on_loop(args.loop, functools.partial(take_turns, args.url, args.turns))
        return
    turns = QUICK_TURNS if args.quick else args.turns
    with run_server() as server:
        rounds, failures = measure(server.base_url(0), turns, args.repeats)
    report_result(NAME, TITLE, targets(), rounds, failures, server.name, args)


if __name__ == "__main__":
    main()
