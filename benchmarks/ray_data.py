"""headrace-ray and Ray Data's own HTTP processor: the same endpoint, cluster and number of actors.

    python benchmarks/ray_data.py [--repeats 3] [--json FILE] [--quick]

Both read the same Parquet file and call from two actors on a cluster of this machine's processors. Starting
the actors is not in the figures: each measurement makes a short run and a long one, and what is counted is
the difference of the two. CPU time is that of the whole cluster and of the process that drives it.
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

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from anyio.from_thread import start_blocking_portal
from benchmarks.measuring import KEY, MODEL, body
from benchmarks.processes import measured
from benchmarks.question import arguments, finish
from benchmarks.rounds import Entry, Figures, Target, in_turn
from benchmarks.server import serving

from headrace.testing.server import Behaviour, endpoint_process

ACTORS = 2
LATENCY_MS = 47
SHORT = 100
AS_IT_COMES, AS_MANY = "Ray's HTTP processor", "Ray's, as many batches at once"
LIMIT_S = 120.0


class Runner(NamedTuple):
    """Who runs, and how many batches Ray's processor has under way in an actor (None: as it comes)."""

    name: str
    batches: int | None = None


class Load(NamedTuple):
    """How many calls each makes, and how many of them at once where that can be said."""

    title: str
    faults: bool
    in_flight: int
    calls: dict[str, int]


RUNNERS = {
    runner.name: runner for runner in (Runner("headrace-ray"), Runner(AS_IT_COMES), Runner(AS_MANY, 50))
}
LOADS = (
    Load("47 ms, 100 in flight", False, 100, {"headrace-ray": 30_000, AS_IT_COMES: 2_000, AS_MANY: 10_000}),
    Load("47 ms, every tenth 429", True, 100, {"headrace-ray": 8_000, AS_IT_COMES: 1_500, AS_MANY: 6_000}),
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
    """Run as a command."""
    parser = arguments("ray_data", __doc__ or "", 3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(**json.loads(asked.measure))))
        return
    with cluster() as address, serving([LATENCY_MS]) as server, faulty() as faulty_url:
        urls = {False: server.base_url(LATENCY_MS), True: faulty_url}

        def run(entry: Entry) -> Figures:
            load = next(load for load in LOADS if load.title == entry.load)
            calls = 2 * SHORT if asked.quick else load.calls[entry.name]
            said = {"name": entry.name, "url": urls[load.faults], "calls": calls, "in_flight": load.in_flight}
            said |= {"address": address, "whole": os.getpid()}
            return measured(str(Path(__file__)), "--measure", json.dumps(said), limit=LIMIT_S)

        entries = [
            Entry(load.title, name, "uvloop" if name == "headrace-ray" else "asyncio")
            for load in LOADS
            for name in RUNNERS
        ]
        rounds, failures = in_turn(entries, run, asked.repeats, lambda entry: False)
    finish("ray_data", "On Ray Data", TARGETS, rounds, failures, server.name, asked)


@contextmanager
def cluster() -> Iterator[str]:
    """A cluster of Ray for the block; its address. Who is started within inherits what opens it."""
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


def measure(name: str, url: str, calls: int, in_flight: int, address: str, whole: int) -> Figures:
    """One measurement, in a process of its own: a long run, less what a short one takes."""
    runner = RUNNERS[name]
    if runner.batches is not None:
        os.environ["RAY_DATA_DEFAULT_ASYNC_BATCH_UDF_MAX_CONCURRENCY"] = str(runner.batches)
    import ray
    import ray.data

    ray.init(address=address, logging_level="warning", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    play = with_headrace if name == "headrace-ray" else functools.partial(with_processor, runner.batches)
    # The first of all is slower: workers of Ray's are started for it, and kept.
    _, short, long = (timed(play, url, number, in_flight, whole) for number in (SHORT, SHORT, calls))
    more, wall, cpu = calls - SHORT, long["wall_s"] - short["wall_s"], long["cpu_s"] - short["cpu_s"]
    return {
        "calls": calls,
        "per_s": round(more / wall, 1),
        "cpu_us": round(cpu / more * 1e6, 1),
        "failed": long["failed"],
        "wall_s": round(long["wall_s"], 2),
    }


def timed(play: Callable[..., int], url: str, calls: int, in_flight: int, whole: int) -> Figures:
    """A run over so many prompts; raises ValueError where some have neither an answer nor an error."""
    with tempfile.TemporaryDirectory(prefix="headrace-ray-") as folder:
        write_prompts(Path(folder, "in.parquet"), calls)
        cpu, began = cpu_seconds(whole), time.perf_counter()
        failed = play(url, Path(folder), calls, in_flight)
        return {
            "wall_s": time.perf_counter() - began,
            "cpu_s": cpu_seconds(whole) - cpu,
            "failed": failed,
        }


def write_prompts(path: Path, calls: int) -> None:
    """Prompts as a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    prompts = [body(number)["messages"][0]["content"] for number in range(calls)]
    parquet.write_table(pyarrow.table({"prompt": prompts}), path, row_group_size=1000)


def with_headrace(url: str, folder: Path, calls: int, in_flight: int) -> int:
    """A run on headrace-ray, its policies as they come; returns how many failed."""
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
        raise ValueError(f"{summary.left} of {calls} have no line: {summary.stopped_by}")
    return summary.failed


def with_processor(batches: int | None, url: str, folder: Path, calls: int, in_flight: int) -> int:
    """A run on Ray's HTTP processor, which retries five times; returns how many failed."""
    import ray.data
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    config = HttpRequestProcessorConfig(
        url=f"{url}/chat/completions",
        headers={"Authorization": f"Bearer {KEY}"},
        concurrency=(ACTORS, ACTORS),
        max_retries=5,
        # By default the actors have all processors of a small cluster, and nothing is ever read.
        http_request_stage={"num_cpus": 0.5},
        # Within a batch its calls are made one after the other: batches that are many have to be small.
        **({} if batches is None else {"batch_size": 16}),
    )
    processor: Any = build_processor(config, preprocess=payload_of, postprocess=answer_of)
    prompts = ray.data.read_parquet(str(folder / "in.parquet"))
    # In blocks as small as headrace-ray's: a block goes to one actor.
    answers = processor(prompts.repartition(target_num_rows_per_block=512)).take_all()
    if len(answers) != calls:
        raise ValueError(f"{len(answers)} answers to {calls} prompts")
    return sum(not answer["text"] for answer in answers)


def payload_of(row: dict[str, Any]) -> dict[str, Any]:
    """The request for a row, as the processor wants it."""
    messages = [{"role": "user", "content": row["prompt"]}]
    return {"payload": {"model": MODEL, "messages": messages, "temperature": 0.3, "max_tokens": 100}}


def answer_of(row: dict[str, Any]) -> dict[str, Any]:
    """The text of an answer, empty where there is none."""
    response = row.get("http_response") or {}
    choices = response.get("choices")
    return {"text": "" if choices is None or not len(choices) else choices[0]["message"]["content"]}


def cpu_seconds(whole: int) -> float:
    """CPU time of a process and all below it but the servers, those included that have ended."""
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
        while process not in (0, whole):
            process = parents.get(process, 0)
        return process == whole

    return sum(used for process, used in ticks.items() if is_below(process)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
