"""How fast is headrace-ray, compared with Ray Data's own HTTP processor?

    python benchmarks/ray_data.py [--repeats 3] [--json FILE] [--quick]

Both read the same Parquet file and call the same endpoint from two actors, on a cluster on this machine. The
start of the actors is not included: each measurement makes a short and a long run, and its figures are the
difference. CPU time is that of the whole cluster and of its driver process.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from anyio.from_thread import start_blocking_portal
from benchmarks.measurement import KEY, MODEL, body
from benchmarks.processes import run_measurement
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Target, measure_rounds
from benchmarks.server import run_server

from headrace.testing.server import Behaviour, endpoint_process

ACTORS = 2
LATENCY_MS = 47
SHORT = 100
AS_IT_COMES, AS_MANY = "Ray's HTTP processor", "Ray's, with 50 concurrent batches"
LIMIT_S = 120.0


class Runner(NamedTuple):
    """A runner; ``batches`` is the number of concurrent batches per actor of Ray's processor, or None."""

    name: str
    batches: int | None = None


class Load(NamedTuple):
    """The calls of each runner, and the calls in flight if that can be set."""

    title: str
    faults: bool
    in_flight: int
    calls: dict[str, int]


RUNNERS = {
    runner.name: runner for runner in (Runner("headrace-ray"), Runner(AS_IT_COMES), Runner(AS_MANY, 50))
}
LOADS = (
    Load("47 ms, 100 in flight", False, 100, {"headrace-ray": 30_000, AS_IT_COMES: 2_000, AS_MANY: 10_000}),
    Load("47 ms, one 429 in ten", True, 100, {"headrace-ray": 8_000, AS_IT_COMES: 1_500, AS_MANY: 6_000}),
)
TARGETS = (
    Target(
        "calls/s against Ray's HTTP processor",
        "per_s",
        Entry(LOADS[0].title, "headrace-ray", "uvloop"),
        Entry(LOADS[0].title, AS_IT_COMES, "asyncio"),
        least=1.0,
    ),
)


def main() -> None:
    """Run the script as a command."""
    parser = argument_parser("ray_data", __doc__ or "", 3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(**json.loads(args.measure))))
        return
    with cluster() as address, run_server([LATENCY_MS]) as server, faulty() as faulty_url:
        urls = {False: server.base_url(LATENCY_MS), True: faulty_url}

        def run(entry: Entry) -> Figures:
            load = next(load for load in LOADS if load.title == entry.load)
            calls = 2 * SHORT if args.quick else load.calls[entry.name]
            options = {
                "name": entry.name,
                "url": urls[load.faults],
                "calls": calls,
                "in_flight": load.in_flight,
            }
            options |= {"address": address, "whole": os.getpid()}
            return run_measurement(str(Path(__file__)), "--measure", json.dumps(options), limit=LIMIT_S)

        entries = [
            Entry(load.title, name, "uvloop" if name == "headrace-ray" else "asyncio")
            for load in LOADS
            for name in RUNNERS
        ]
        rounds, failures = measure_rounds(entries, run, args.repeats, lambda entry: False)
    report_result("ray_data", "On Ray Data", TARGETS, rounds, failures, server.name, args)


@contextmanager
def cluster() -> Iterator[str]:
    """Run a Ray cluster; yields its address. Child processes inherit the token for it."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    import ray

    context = ray.init(include_dashboard=False, logging_level="warning", log_to_driver=False)
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


@contextmanager
def faulty() -> Iterator[str]:
    """An endpoint that answers every tenth call with 429 and Retry-After."""
    behaviour = Behaviour(latency=LATENCY_MS / 1000, errors=0.1, faults=("429",))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process(behaviour)) as endpoint,
    ):
        yield endpoint.base_url


def measure(name: str, url: str, calls: int, in_flight: int, address: str, root: int) -> Figures:
    """One measurement, in its own process: the difference of a long and a short run."""
    runner = RUNNERS[name]
    if runner.batches is not None:
        os.environ["RAY_DATA_DEFAULT_ASYNC_BATCH_UDF_MAX_CONCURRENCY"] = str(runner.batches)
    import ray
    import ray.data

    ray.init(address=address, logging_level="warning", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    run_once = with_headrace if name == "headrace-ray" else functools.partial(with_processor, runner.batches)
    # The first run is slower because Ray starts its workers; they are kept.
    _, short, long = (timed(run_once, url, number, in_flight, root) for number in (SHORT, SHORT, calls))
    more, wall, cpu = calls - SHORT, long["wall_s"] - short["wall_s"], long["cpu_s"] - short["cpu_s"]
    return {
        "calls": calls,
        "per_s": round(more / wall, 1),
        "cpu_us": round(cpu / more * 1e6, 1),
        "failed": long["failed"],
        "wall_s": round(long["wall_s"], 2),
    }


def timed(run_once: Callable[..., int], url: str, calls: int, in_flight: int, root: int) -> Figures:
    """Run this number of prompts; raises ValueError if some have neither an answer nor an error."""
    with tempfile.TemporaryDirectory(prefix="headrace-ray-") as folder:
        write_prompts(Path(folder, "in.parquet"), calls)
        cpu, began = cpu_seconds(root), time.perf_counter()
        failed = run_once(url, Path(folder), calls, in_flight)
        return {
            "wall_s": time.perf_counter() - began,
            "cpu_s": cpu_seconds(root) - cpu,
            "failed": failed,
        }


def write_prompts(path: Path, calls: int) -> None:
    """Write prompts as a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    prompts = [body(number)["messages"][0]["content"] for number in range(calls)]
    parquet.write_table(pyarrow.table({"prompt": prompts}), path, row_group_size=1000)


def with_headrace(url: str, folder: Path, calls: int, in_flight: int) -> int:
    """Run on headrace-ray with its default policies; return the number of failed calls."""
    from headrace import Client
    from headrace.pipeline.bulk_engines import Job
    from headrace_ray.engine import RayEngine

    client = functools.partial(Client, base_url=url, api_key=KEY, model=MODEL, max_in_flight=in_flight)
    job = Job(
        input=str(folder / "in.parquet"),
        out=str(folder / "out"),
        prompt="{prompt}",
        model=MODEL,
        choices=None,
        schema=None,
        system=None,
        parameters={"temperature": 0.3, "max_tokens": 100},
        id_column=None,
        limit=None,
        make_client=client,
        max_in_flight=in_flight,
        deadline=None,
        wait_for_endpoint=600.0,
        retry_failed=False,
    )
    summary = RayEngine().run(job, {"ray_address": None, "actors": ACTORS, "parquet": False})
    if summary.left:
        raise ValueError(f"{summary.left} of {calls} items have no output line: {summary.stopped_by}")
    return summary.failed


def with_processor(batches: int | None, url: str, folder: Path, calls: int, in_flight: int) -> int:
    """Run on Ray's HTTP processor, with five retries; return the number of failed calls."""
    import ray.data
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    config = HttpRequestProcessorConfig(
        url=f"{url}/chat/completions",
        headers={"Authorization": f"Bearer {KEY}"},
        concurrency=(ACTORS, ACTORS),
        max_retries=5,
        # By default the actors use all processors of a small cluster, and no task can read the input.
        http_request_stage={"num_cpus": 0.5},
        # The calls of a batch are made one after the other, so many concurrent batches must be small.
        **({} if batches is None else {"batch_size": 16}),
    )
    processor: Any = build_processor(config, preprocess=payload_of, postprocess=answer_of)
    prompts = ray.data.read_parquet(str(folder / "in.parquet"))
    # Blocks as small as those of headrace-ray, because each block goes to one actor.
    answers = processor(prompts.repartition(target_num_rows_per_block=512)).take_all()
    if len(answers) != calls:
        raise ValueError(f"{len(answers)} answers to {calls} prompts")
    return sum(not answer["text"] for answer in answers)


def payload_of(row: dict[str, Any]) -> dict[str, Any]:
    """The request for a row, in the format of the processor."""
    messages = [{"role": "user", "content": row["prompt"]}]
    return {"payload": {"model": MODEL, "messages": messages, "temperature": 0.3, "max_tokens": 100}}


def answer_of(row: dict[str, Any]) -> dict[str, Any]:
    """The text of an answer, or an empty text if there is none."""
    response = row.get("http_response") or {}
    choices = response.get("choices")
    return {"text": "" if choices is None or not len(choices) else choices[0]["message"]["content"]}


def cpu_seconds(root: int) -> float:
    """CPU time of a process and its descendants, including ended ones but without the servers."""
    ticks, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"nginx" in command or b"headrace.testing.server" in command:
                continue
            parents[int(entry.name)] = int(stat[1])
            ticks[int(entry.name)] = sum(map(int, stat[11:15]))

    def is_below(process: int) -> bool:
        while process not in (0, root):
            process = parents.get(process, 0)
        return process == root

    return sum(used for process, used in ticks.items() if is_below(process)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
