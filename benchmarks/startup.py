"""How long do `import headrace` and `headrace --help` take, compared with imports of other clients?

    python benchmarks/startup.py [--repeats 11] [--json FILE] [--quick]

Each runs in its own interpreter, with compiled bytecode. The time of an import does not include the start of
the interpreter; that of the command does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import resource
import subprocess
import sys
import time
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import ROOT, clean_environment, run_measurement
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Target, measure_rounds

NAME = "startup"
LOAD = "start"
PEERS = ("httpx", "aiohttp", "openai", "pyreqwest")
HELP = "headrace --help"
MOST_MS = 120.0

IMPORT = """
import json, sys, time
before = set(sys.modules)
began, used = time.perf_counter(), time.process_time()
import {module}
wall, cpu = time.perf_counter() - began, time.process_time() - used
foreign = sum(name in sys.modules for name in ("httpx", "rich", "click"))
print(json.dumps({{"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3, "modules": len(set(sys.modules) - before),
                   "foreign": foreign}}))
"""
COMMAND = "from headrace_command import main; main()"


def entry(name: str) -> Entry:
    """The entry in the table."""
    return Entry(LOAD, name, "none")


def measure(entry: Entry) -> Figures:
    """Measure an import or the command once."""
    if entry.name == HELP:
        return start_command()
    return run_measurement("-c", IMPORT.format(module=entry.name.removeprefix("import ")))


def start_command() -> Figures:
    """Measure `headrace --help`, including the start of the interpreter."""
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", COMMAND, "--help"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3, "modules": 0, "foreign": 0}


def targets() -> list[Target]:
    """The targets for the import; the command has none."""
    own, theirs = entry("import headrace"), entry("import openai")
    return [
        Target("time of the import", "wall_ms", own, most=MOST_MS, unit="ms"),
        Target("time against `import openai`", "wall_ms", own, theirs, most=0.2),
        Target("imports of httpx, rich and click", "foreign", own, most=0, unit="modules"),
    ]


def main() -> None:
    """Run the script as a command."""
    parser = argument_parser(NAME, __doc__ or "", repeats=11)
    args = parser.parse_args()
    imports = ["headrace", *(peer for peer in PEERS if importlib.util.find_spec(peer))]
    entries = [*(entry(f"import {module}") for module in imports), entry(HELP)]
    for each in entries:
        with contextlib.suppress(Exception):
            measure(each)
    rounds, failures = measure_rounds(entries, measure, args.repeats)
    report_result(NAME, "Start", targets(), rounds, failures, "none", args)


if __name__ == "__main__":
    main()
