"""How fast are rows submitted to batches and their results merged, and how much memory do they need?

    python benchmarks/batches.py [--repeats 3] [--json FILE] [--quick]

A run with the engine ``batch``, from CSV, against `benchmarks.batch_server`. Short rows make lines of 0.2 kB,
long ones of 2.4 kB. The files that headrace has made are also uploaded without it, and the files with the
results are also downloaded without it: that is what the network takes. Then whole runs are made in one
session.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import anyio

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.batch_server import run_batch_server
from benchmarks.measurement import Stopwatch
from benchmarks.processes import run_measurement
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Target, measure_rounds
from benchmarks.rows_memory import FEWER, MOST_MB, write_csv

import headrace
from headrace_batch import BatchEngine

SUBMIT, FETCH, WHOLE = "headrace, submit", "headrace, fetch and merge", "headrace, whole run"
SDK, SOCKET, HTTPX = "openai, upload only", "sendfile, upload only", "httpx, download only"
STEPS = (SUBMIT, SDK, SOCKET, FETCH, HTTPX)
"""The steps of a load, in this order: the files of the requests are there until the results are merged."""

MOST = 1_000_000
LIMIT_S = 3600.0


class Rows(NamedTuple):
    """Rows of a length.

    Attributes:
        title: Of the load.
        number: How many rows.
        times: How often the description is in each.
    """

    title: str
    number: int
    times: int


LOADS = (Rows("short rows", 200_000, 1), Rows("long rows", 50_000, 45))


class Job:
    """A run over rows, with its endpoint, in a folder that goes with it."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        with ExitStack() as opened:
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="headrace-batches-")))
            self._url = opened.enter_context(run_batch_server())
            write_csv(self._folder / "in.csv", rows.number, rows.times)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Stop the endpoint and delete the files."""
        self._opened.close()

    def measure(self, step: str) -> Figures:
        """Take a step in its own process."""
        return run_measurement(
            *(__file__, "--step", step, "--url", self._url, "--folder", str(self._folder)),
            *("--rows", self._rows.number),
            limit=LIMIT_S,
        )


def perform(step: str, url: str, folder: Path, rows: int) -> None:
    """Take a step, and print the figures of this process."""
    stopwatch = Stopwatch()
    if step in {SUBMIT, FETCH, WHOLE}:
        anyio.run(run, step, url, folder, rows, stopwatch)
        size = sum(path.stat().st_size for path in parts(folder)) or (folder / "out.jsonl").stat().st_size
    else:
        make = {SDK: upload_with_sdk, SOCKET: upload_with_sendfile, HTTPX: download_with_httpx}[step]
        size = make(url, folder, stopwatch)
    figures, megabytes = stopwatch.totals(rows), size / 1e6
    figures["mb_s"] = round(megabytes / figures["wall_s"], 1)
    figures["cpu_ms_mb"] = round(figures["cpu_us"] * rows / 1e3 / megabytes, 2)
    print(json.dumps(figures))


def parts(folder: Path) -> list[Path]:
    """The files that headrace has uploaded, until their results are merged."""
    return list(folder.glob("out.jsonl.batch-*/part-*.jsonl"))


async def run(step: str, url: str, folder: Path, rows: int, stopwatch: Stopwatch) -> None:
    """A session of the run."""
    engine = BatchEngine(poll=0.2, detach=step == SUBMIT)
    stopwatch.start()
    async with headrace.Client(base_url=url, model="m", api_key="none") as client:
        result = await headrace.run(
            client,
            folder / "in.csv",
            prompt="{name}: {description}",
            out=folder / "out.jsonl",
            engine=engine,
        )
    stopwatch.stop()
    if result.succeeded != (0 if step == SUBMIT else rows):
        raise AssertionError(f"{result.succeeded} of {rows} succeeded; {result.stopped_by}")


def upload_with_sdk(url: str, folder: Path, stopwatch: Stopwatch) -> int:
    """Upload the files with the official SDK; returns their bytes."""
    import openai

    size = 0
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        stopwatch.start()
        for path in parts(folder):
            with path.open("rb") as file:
                client.files.create(file=file, purpose="batch")
            size += path.stat().st_size
        stopwatch.stop()
    return size


def upload_with_sendfile(url: str, folder: Path, stopwatch: Stopwatch) -> int:
    """Upload the files with one system call each; returns their bytes."""
    port, size = int(url.rpartition(":")[2].partition("/")[0]), 0
    stopwatch.start()
    for path in parts(folder):
        with socket.create_connection(("127.0.0.1", port)) as connection, path.open("rb") as file:
            length = path.stat().st_size
            connection.sendall(b"POST /v1/files HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length)
            connection.sendfile(file)
            connection.recv(1 << 16)
            size += length
    stopwatch.stop()
    return size


def download_with_httpx(url: str, folder: Path, stopwatch: Stopwatch) -> int:
    """Download the files with the results; returns their bytes."""
    import httpx

    (ledger,) = folder.glob("out.jsonl.batch-*/ledger.jsonl")
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    size = 0
    with httpx.Client(base_url=url, trust_env=False) as client:
        stopwatch.start()
        for file in {record["file"] for record in records if "file" in record}:
            with client.stream("GET", f"/files/{file}/content") as reply:
                size += sum(map(len, reply.iter_raw()))
        stopwatch.stop()
    return size


def measurements(
    loads: Sequence[Rows], fewer: int, most: int, opened: ExitStack
) -> Iterator[tuple[Entry, Callable[[], Figures]]]:
    """What is measured, and how."""
    jobs: dict[str, Job] = {}

    def step_of(rows: Rows, step: str) -> Figures:
        if step == SUBMIT:
            jobs[rows.title] = Job(rows)
            opened.callback(jobs[rows.title].close)
        return jobs[rows.title].measure(step)

    def whole(number: int) -> Figures:
        job = Job(Rows("", number, 1))
        try:
            return job.measure(WHOLE)
        finally:
            job.close()

    for rows in loads:
        for step in STEPS:
            if step != SDK or importlib.util.find_spec("openai"):
                yield Entry(rows.title, step, ""), lambda rows=rows, step=step: step_of(rows, step)  # type: ignore[misc]
    for number in (fewer, most):
        yield Entry(f"{number:,} short rows", WHOLE, ""), lambda number=number: whole(number)  # type: ignore[misc]


def main() -> None:
    """Run the script as a command."""
    parser = argument_parser("batches", __doc__ or "", 3)
    parser.add_argument("--step", help=argparse.SUPPRESS)  # of one process
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step is not None:
        perform(args.step, args.url, args.folder, args.rows)
        return
    loads, fewer, most = list(LOADS), FEWER, MOST
    if args.quick:
        loads, fewer, most = [each._replace(number=1_000) for each in LOADS], 500, 1_000
    with ExitStack() as opened:
        found = dict(measurements(loads, fewer, most, opened))
        entries = list(found)
        once = entries[-2:]
        rounds, failures = measure_rounds(
            entries, lambda entry: found[entry](), args.repeats, lambda entry: entry in once
        )
    targets = [
        Target(
            f"peak memory above that of {fewer:,} rows",
            *("peak_mb", once[1], once[0]),
            minus=True,
            most=MOST_MB,
            unit="MB",
        )
    ]
    title = "Rows through batches"
    report_result("batches", title, targets, rounds, failures, "benchmarks/batch_server.py", args)


if __name__ == "__main__":
    main()
