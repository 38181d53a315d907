"""All questions, one after the other, and what they found as JSON in a folder.

    python benchmarks/all.py [--results FOLDER] [--only throughput,latency] [--quick]

The results of a full run go to benchmarks/results, from which page.py makes the page; those of a quick one
are dropped unless a folder is named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import RESULTS, ROOT

QUESTIONS = (
    "throughput",
    "latency",
    "black_friday",
    "approaches",
    "policies_cost",
    "memory",
    "soak",
    "streaming",
    "sdk",
    "startup",
    "tls",
    "https_steps",
    "actors",
)


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="benchmarks/all.py", description="All questions.")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="where the results go")
    parser.add_argument("--only", default=",".join(QUESTIONS), metavar="NAMES", help="separated by commas")
    parser.add_argument("--quick", action="store_true", help="few calls: that it works, not how fast")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := set(names).difference(QUESTIONS):
        parser.error(f"no questions: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    with tempfile.TemporaryDirectory(prefix="headrace-results-") as dropped:
        folder = asked.results or (Path(dropped) if asked.quick else RESULTS)
        folder.mkdir(parents=True, exist_ok=True)
        failed = [name for name in names if not ask(name, folder, asked.quick)]
    if failed:
        sys.exit(f"benchmarks/all.py: these ended with an error: {', '.join(failed)}")


def ask(name: str, folder: Path, quick: bool) -> bool:
    """Run a question's script; returns whether it ended well."""
    print(f"\n## {name}\n", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / f"{name}.py"),
            *("--json", (folder / f"{name}.json").resolve()),
            *(["--quick", "--repeats", "1"] if quick else []),
        ],
        cwd=ROOT,
        check=False,
    )
    print(f"\n{name}: {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
