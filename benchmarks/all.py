"""Runs all benchmarks, one after the other, and writes their results as JSON into a folder.

    python benchmarks/all.py [--results FOLDER] [--only throughput,latency] [--quick]

The results of a full run go to benchmarks/results; page.py creates the page from them. The results of a
quick run are deleted unless --results names a folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import RESULTS, ROOT

QUESTIONS = (
    "throughput",
    "latency",
    "black_friday",
    "concurrency_styles",
    "policies_cost",
    "memory",
    "soak",
    "streaming",
    "sdk",
    "startup",
    "tls",
    "https_steps",
    "actors",
    "batches",
)


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(prog="benchmarks/all.py", description="Run all benchmarks.")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="folder for the results")
    parser.add_argument("--only", default=",".join(QUESTIONS), metavar="NAMES", help="separated by commas")
    parser.add_argument("--quick", action="store_true", help="few calls: only check that everything works")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := set(names).difference(QUESTIONS):
        parser.error(f"unknown questions: {', '.join(unknown)}; known: {', '.join(QUESTIONS)}")
    with tempfile.TemporaryDirectory(prefix="headrace-results-") as dropped:
        folder = args.results or (Path(dropped) if args.quick else RESULTS)
        folder.mkdir(parents=True, exist_ok=True)
        failed = [name for name in names if not run_question(name, folder, args.quick)]
    if failed:
        sys.exit(f"benchmarks/all.py: failed: {', '.join(failed)}")


def run_question(name: str, folder: Path, quick: bool) -> bool:
    """Run the script of a question; return whether it succeeded."""
    print(f"\n## {name}\n", flush=True)
    began = time.monotonic()
    completed = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / f"{name}.py"),
            *("--json", (folder / f"{name}.json").resolve()),
            *(["--quick", "--repeats", "1"] if quick else []),
        ],
        cwd=ROOT,
        check=False,
    )
    print(f"\n{name}: {time.monotonic() - began:.0f} s", flush=True)
    return completed.returncode == 0


if __name__ == "__main__":
    main()
