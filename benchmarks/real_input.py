"""Does `headrace run` process about 60,000 real texts, the packages of Debian, from file to file?

    python benchmarks/real_input.py [--limit N] [--in-flight 100] [--json FILE]

The embedded endpoint, a separate Python process, answers. So this measures whether a complete run works, and
not how fast the client can be.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.debian_packages import IndexUnavailableError, write_csv
from benchmarks.environment import describe_environment
from benchmarks.processes import clean_environment
from benchmarks.tables import real_input_tables

from headrace.testing.server import endpoint_process

LIMIT_S = 1800.0
PROMPT = "Into which section of Debian does this package belong?\n\n{id}: {description}"


def categorise(folder: Path, limit: int | None, in_flight: int) -> dict[str, Any]:
    """Process all packages and check the output; raises AssertionError if it is not complete."""
    input, output = folder / "packages.csv", folder / "sections.jsonl"
    write_csv(input, limit)
    ids, sections = read_input(input)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process()) as endpoint,
    ):
        began = time.perf_counter()
        run_headrace(input, output, sections, endpoint.base_url, in_flight)
        wall = time.perf_counter() - began
    check_output(output, ids, sections)
    return {
        "environment": describe_environment() | {"server": "embedded endpoint"},
        "items": len(ids),
        "sections": len(sections),
        "input_mb": round(input.stat().st_size / 1e6, 1),
        "output_mb": round(output.stat().st_size / 1e6, 1),
        "wall_s": round(wall, 2),
        "in_flight": in_flight,
    }


def read_input(path: Path) -> tuple[list[str], list[str]]:
    """All ids, and all sections in alphabetical order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["id"] for row in rows], sorted({row["section"] for row in rows})


def run_headrace(input: Path, output: Path, sections: list[str], base_url: str, in_flight: int) -> None:
    """Run the command like a user; its summary goes to standard output."""
    subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from headrace_command import main; main()",
                "run",
                input,
                "--out",
                output,
            ),
            *("--prompt", PROMPT, "--choices", ",".join(sections), "--id-column", "id"),
            *("--model", "deepseek-v3.2", "--base-url", base_url, "--max-in-flight", str(in_flight)),
        ],
        cwd=input.parent,
        env=clean_environment() | {"OPENAI_API_KEY": "sk-benchmark"},
        timeout=LIMIT_S,
        check=True,
    )


def check_output(path: Path, ids: list[str], sections: list[str]) -> None:
    """Raise AssertionError unless each id has exactly one line, with a valid section."""
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    times = Counter(line["custom_id"] for line in lines)
    strange = {line["headrace"].get("answer") for line in lines}.difference(sections)
    missing, surplus = [id for id in ids if id not in times], [id for id in times if times[id] > 1]
    if missing or surplus or len(lines) != len(ids):
        raise AssertionError(f"{len(missing)} ids missing, {len(surplus)} more than once, {len(lines)} lines")
    if strange:
        raise AssertionError(f"answers that are not sections: {strange}")


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/real_input.py", description="Process all packages of Debian."
    )
    parser.add_argument("--limit", type=int, help="only the first N packages")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-debian-") as folder:
            result = categorise(Path(folder), args.limit, args.in_flight)
    except IndexUnavailableError as error:
        sys.exit(f"benchmarks/real_input.py: {error}")
    print(real_input_tables(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
