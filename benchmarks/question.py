"""A question that clients answer by making calls: loads, targets, and the command that asks it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.clients import CLIENTS
from benchmarks.environment import describe_environment
from benchmarks.processes import measured
from benchmarks.rounds import Entry, Figures, Round, Target, in_turn, medians
from benchmarks.server import Server, serving
from benchmarks.tables import result_tables

QUICK_SHARE = 50
QUICK_LEAST = 20
LIMIT_S = 900.0


class Runner(NamedTuple):
    """A client on an event loop, and how many calls it makes where that is not what the load says."""

    client: str
    loop: str
    calls: int | None = None


class Load(NamedTuple):
    """How many calls are made, how many of them at once, by whom, and what the server does with them.

    ``way`` is the latency in milliseconds, or the kind of stream. ``tls``: over https; needs nginx. ``cold``:
    from a client that has no connection yet. ``limit``: seconds after which a client has not finished.
    ``once``: too long to be repeated. ``quick``: what a quick look looks at.
    """

    title: str
    way: int | str
    in_flight: int
    calls: int
    runners: Sequence[Runner]
    tls: bool = False
    cold: bool = False
    limit: float = LIMIT_S
    once: bool = False
    quick: bool = True

    def shortened(self) -> Load:
        """The same with so few calls that it only shows that all works."""
        calls = max(self.calls // QUICK_SHARE, QUICK_LEAST)
        runners = [runner._replace(calls=None) for runner in self.runners]
        return self._replace(calls=calls, in_flight=min(self.in_flight, calls), runners=runners)


class Question(NamedTuple):
    """What a script asks. ``name`` is the script's, and its result's.

    ``whole``: a number of calls to which the time of those that were made is extrapolated.
    """

    name: str
    title: str
    loads: Sequence[Load]
    targets: Sequence[Target] = ()
    repeats: int = 3
    whole: int | None = None


def entry_of(load: Load, runner: Runner) -> Entry:
    """How a runner of a load is called in the tables."""
    return Entry(load.title, CLIENTS[runner.client].title, runner.loop)


def entry(load: str, client: str, loop: str) -> Entry:
    """The same for a target."""
    return Entry(load, CLIENTS[client].title, loop)


def ask(question: Question, description: str | None) -> None:
    """Run a question as a command."""
    parser = arguments(question.name, description or "", question.repeats)
    parser.add_argument("--only", metavar="NAMES", help="only these clients, separated by commas")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        parser.error(f"no clients: {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    loads = [load.shortened() for load in question.loads if load.quick] if asked.quick else question.loads
    latencies = sorted({load.way if isinstance(load.way, int) else 0 for load in loads})
    with serving(latencies, tls=any(load.tls for load in loads)) as server:
        table = {
            entry_of(load, runner): (load, runner)
            for load in loads
            if server.secure or not load.tls
            for runner in load.runners
            if runner.client in names and CLIENTS[runner.client].is_installed
        }
        for load in loads:
            if load.tls and not server.secure:
                print(f"{load.title}: needs nginx, for the embedded endpoint has no TLS")
        rounds, failures = in_turn(
            list(table),
            lambda entry: run(*table[entry], server),
            asked.repeats,
            lambda entry: table[entry][0].once,
        )
    if question.whole is not None:
        extrapolate(rounds, question.whole)
    finish(question.name, question.title, question.targets, rounds, failures, server.name, asked)


def arguments(name: str, description: str, repeats: int) -> argparse.ArgumentParser:
    """What all questions take."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    parser.add_argument("--quick", action="store_true", help="few calls: that it works, not how fast")
    return parser


def run(load: Load, runner: Runner, server: Server) -> Figures:
    """Measure a runner once."""
    streams = isinstance(load.way, str)
    return measured(
        *("-m", "benchmarks.one", runner.client, "--loop", runner.loop),
        *("--url", server.base_url(load.way, tls=load.tls), "--calls", runner.calls or load.calls),
        *("--in-flight", load.in_flight),
        *(["--cold"] if load.cold else []),
        *(["--text", server.text] if streams and server.text else []),
        limit=load.limit,
        certificates=server.certificates if load.tls else None,
    )


def extrapolate(rounds: Sequence[Round], calls: int) -> None:
    """Add the time that so many calls take, at the rate of those that were made."""
    for figures in rounds:
        for each in figures.values():
            each["whole_s"] = round(calls / each["per_s"], 2)


def finish(
    name: str,
    title: str,
    targets: Sequence[Target],
    rounds: Sequence[Round],
    failures: dict[Entry, str],
    server: str,
    asked: argparse.Namespace,
    **more: Any,
) -> dict[str, Any]:
    """Print the result, write it where that was asked for, with what is ``more``, and return it."""
    verdicts = [verdict for target in targets if (verdict := target.verdict(rounds))]
    result: dict[str, Any] = {
        "question": name,
        "title": title,
        "environment": describe_environment() | {"server": server},
        "repeats": asked.repeats,
        "quick": asked.quick,
        "targets": verdicts,
        "rows": medians(rounds),
        "failures": [[*entry, why] for entry, why in failures.items()],
    }
    print(result_tables(result))
    if asked.json:
        text = json.dumps(result | more, indent=1, ensure_ascii=False)
        asked.json.write_text(text + "\n", encoding="utf-8")
    return result
