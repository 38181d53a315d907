"""A benchmark question: its loads and targets, and its command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.clients import CLIENTS
from benchmarks.environment import describe_environment
from benchmarks.processes import run_measurement
from benchmarks.rounds import Entry, Figures, Round, Target, measure_rounds, medians
from benchmarks.server import Server, run_server
from benchmarks.tables import result_tables

QUICK_SHARE = 50
QUICK_LEAST = 20
LIMIT_S = 900.0


class Runner(NamedTuple):
    """A client on an event loop; ``calls`` replaces the number of calls of the load."""

    client: str
    loop: str
    calls: int | None = None


class Load(NamedTuple):
    """A number of calls, how many of them are in flight, and the clients that make them.

    Attributes:
        mode: The latency of the server in milliseconds, or the kind of stream.
        tls: Over https; needs nginx.
        cold: The client has no connections yet.
        limit: Seconds after which a client is stopped.
        once: The load takes too long to be repeated.
        quick: The load is part of a quick run.
    """

    title: str
    mode: int | str
    in_flight: int
    calls: int
    runners: Sequence[Runner]
    tls: bool = False
    cold: bool = False
    limit: float = LIMIT_S
    once: bool = False
    quick: bool = True

    def shortened(self) -> Load:
        """The same load with few calls, to check that everything works."""
        calls = max(self.calls // QUICK_SHARE, QUICK_LEAST)
        runners = [runner._replace(calls=None) for runner in self.runners]
        return self._replace(calls=calls, in_flight=min(self.in_flight, calls), runners=runners)


class Question(NamedTuple):
    """A benchmark. ``name`` is the name of the script and of its result.

    ``extrapolate_to``: the time is extrapolated to this number of calls.
    """

    name: str
    title: str
    loads: Sequence[Load]
    targets: Sequence[Target] = ()
    repeats: int = 3
    extrapolate_to: int | None = None


def runner_entry(load: Load, runner: Runner) -> Entry:
    """The entry for a runner of a load in the tables."""
    return Entry(load.title, CLIENTS[runner.client].title, runner.loop)


def entry(load: str, client: str, loop: str) -> Entry:
    """The entry for a client, for targets."""
    return Entry(load, CLIENTS[client].title, loop)


def run_question(question: Question, description: str | None) -> None:
    """Run a question as a command."""
    parser = argument_parser(question.name, description or "", question.repeats)
    parser.add_argument("--only", metavar="NAMES", help="only these clients, separated by commas")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        parser.error(f"unknown clients: {', '.join(unknown)}; known: {', '.join(CLIENTS)}")
    loads = [load.shortened() for load in question.loads if load.quick] if args.quick else question.loads
    latencies = sorted({load.mode if isinstance(load.mode, int) else 0 for load in loads})
    with run_server(latencies, tls=any(load.tls for load in loads)) as server:
        table = {
            runner_entry(load, runner): (load, runner)
            for load in loads
            if server.secure or not load.tls
            for runner in load.runners
            if runner.client in names and CLIENTS[runner.client].is_installed
        }
        for load in loads:
            if load.tls and not server.secure:
                print(f"{load.title}: skipped; https needs nginx")
        rounds, failures = measure_rounds(
            list(table),
            lambda entry: run(*table[entry], server),
            args.repeats,
            lambda entry: table[entry][0].once,
        )
    if question.extrapolate_to is not None:
        extrapolate(rounds, question.extrapolate_to)
    report_result(question.name, question.title, question.targets, rounds, failures, server.name, args)


def argument_parser(name: str, description: str, repeats: int) -> argparse.ArgumentParser:
    """The options of all questions."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    parser.add_argument("--quick", action="store_true", help="few calls: only check that everything works")
    return parser


def run(load: Load, runner: Runner, server: Server) -> Figures:
    """Measure a runner once."""
    streams = isinstance(load.mode, str)
    return run_measurement(
        *("-m", "benchmarks.measure_client", runner.client, "--loop", runner.loop),
        *("--url", server.base_url(load.mode, tls=load.tls), "--calls", runner.calls or load.calls),
        *("--in-flight", load.in_flight),
        *(["--cold"] if load.cold else []),
        *(["--text", server.text] if streams and server.text else []),
        limit=load.limit,
        certificates=server.certificates if load.tls else None,
    )


def extrapolate(rounds: Sequence[Round], calls: int) -> None:
    """Add the time for this number of calls at the measured rate."""
    for figures in rounds:
        for each in figures.values():
            each["whole_s"] = round(calls / each["per_s"], 2)


def report_result(
    name: str,
    title: str,
    targets: Sequence[Target],
    rounds: Sequence[Round],
    failures: dict[Entry, str],
    server: str,
    args: argparse.Namespace,
    **more: Any,
) -> dict[str, Any]:
    """Print the result, write it as JSON if requested, with ``more`` in it, and return it."""
    verdicts = [verdict for target in targets if (verdict := target.verdict(rounds))]
    result: dict[str, Any] = {
        "question": name,
        "title": title,
        "environment": describe_environment() | {"server": server},
        "repeats": args.repeats,
        "quick": args.quick,
        "targets": verdicts,
        "rows": medians(rounds),
        "failures": [[*entry, why] for entry, why in failures.items()],
    }
    print(result_tables(result))
    if args.json:
        text = json.dumps(result | more, indent=1, ensure_ascii=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    return result
