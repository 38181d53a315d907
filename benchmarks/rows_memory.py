"""How much more memory do 1,000,000 rows need than 10,000, from a generator, CSV and Parquet?

    python benchmarks/rows_memory.py [--rows 1000000] [--json FILE] [--quick]

`headrace.run` with `out=`, without a table, each run in its own process; the endpoint is a function in that
process, so nothing but the run is measured. The rows are short: 1,000,000 of them are 90 MB as CSV.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.environment import describe_environment
from benchmarks.measurement import peak_rss_mb
from benchmarks.processes import MeasurementError, run_measurement
from benchmarks.tables import table

import headrace
from headrace.calls import Call
from headrace.replies import Reply
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport

FEWER = 10_000
MOST_MB = 20.0
"""What 1,000,000 rows may need more than 10,000."""

LIMIT_S = 3600.0
_BATCH = 10_000


def generate(number: int) -> Iterator[dict[str, Any]]:
    """Rows of about 90 bytes."""
    for place in range(number):
        yield {
            "id": f"P{place:07}",
            "name": f"Gartenschlauch {place % 977}",
            "description": f"25 m lang, mit Kupplung und Spritze, Charge {place * 7919 % 100_003}",
        }


def write_csv(path: Path, number: int, times: int = 1) -> None:
    """The rows as CSV, with each description so many times."""
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(next(generate(1)))
        for row in generate(number):
            writer.writerow([row["id"], row["name"], times * row["description"]])


def write_parquet(path: Path, number: int) -> None:
    """The rows as Parquet, a batch at a time."""
    import itertools

    import pyarrow
    import pyarrow.parquet

    rows, schema = generate(number), pyarrow.Table.from_pylist(list(generate(1))).schema
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(rows, _BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


WRITERS: dict[str, Callable[[Path, int], None] | None] = {
    "generator": None,
    "csv": write_csv,
    "parquet": write_parquet,
}


async def perform(source: str, number: int, folder: Path) -> None:
    """Run over all rows, and print the figures of this process."""
    endpoint = FakeEndpoint(otherwise="Gartenbedarf")

    async def handle(call: Call) -> Reply:
        reply = await endpoint.handle(call)
        endpoint.attempts.clear()  # it keeps all requests
        endpoint.times.clear()
        return reply

    rows = generate(number) if source == "generator" else folder / f"{number}.{source}"
    began = time.perf_counter()
    async with headrace.Client(transport=MemoryTransport(handle), model="m", api_key="none") as client:
        result = await headrace.run(
            client, rows, prompt="{name}: {description}", out=folder / f"{source}-{number}.jsonl"
        )
    if result.succeeded != number:
        raise AssertionError(f"{result.succeeded} of {number} succeeded; {result.stopped_by}")
    figures = {"peak_mb": round(peak_rss_mb(), 1), "seconds": round(time.perf_counter() - began, 1)}
    print(json.dumps(figures))


def measure(folder: Path, most: int) -> list[dict[str, Any]]:
    """The figures of all inputs."""
    found: list[dict[str, Any]] = []
    for source, write in WRITERS.items():
        runs: dict[int, dict[str, Any]] = {}
        for number in (FEWER, most):
            if write is not None:
                write(folder / f"{number}.{source}", number)
            runs[number] = run_measurement(
                __file__, "--source", source, "--rows", number, "--folder", str(folder), limit=LIMIT_S
            )
            for file in folder.iterdir():
                file.unlink()
        found.append(
            {
                "input": source,
                "fewer_mb": runs[FEWER]["peak_mb"],
                "most_mb": runs[most]["peak_mb"],
                "more_mb": round(runs[most]["peak_mb"] - runs[FEWER]["peak_mb"], 1),
                "rows_per_s": round(most / runs[most]["seconds"]),
            }
        )
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/rows_memory.py", description="Measure the memory of runs over many rows."
    )
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    parser.add_argument("--quick", action="store_true", help="20,000 rows: only check that everything works")
    parser.add_argument("--source", choices=WRITERS, help=argparse.SUPPRESS)  # of one process
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.source is not None:
        anyio.run(partial(perform, args.source, args.rows, args.folder))
        return
    most = 2 * FEWER if args.quick else args.rows
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-rows-") as folder:
            rows = measure(Path(folder), most)
    except MeasurementError as error:
        sys.exit(f"benchmarks/rows_memory.py: {error}")
    head = ["input", f"peak MB, {FEWER:,} rows", f"peak MB, {most:,} rows", "more", "rows/s"]
    print(table(head, [list(row.values()) for row in rows]))
    if args.json:
        result = {"environment": describe_environment(), "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if worst := [row["input"] for row in rows if row["more_mb"] > MOST_MB]:
        sys.exit(f"benchmarks/rows_memory.py: more than {MOST_MB:g} MB: {', '.join(worst)}")


if __name__ == "__main__":
    main()
