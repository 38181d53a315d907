"""Several processes on one account: they share one limit, also when one or the server is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headrace_redis.shared_lane import BOOKING_TTL
from headrace_redis.turns import HORIZON
from redis_server import RedisProcess

BURST = 1.0
FORGETTING_SECONDS = int(os.environ.get("TEST_FORGETTING_SECONDS", "8"))
ASK = ("--prompt", "{text}", "--model", "m", "--max-in-flight", "50")
COMMAND = [sys.executable, "-c", "from headrace_command import main; main()"]


@contextmanager
def start_processes(
    redis: RedisProcess, processes: int, per_minute: float, calls: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Provide processes that have started and wait for a line on stdin."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("member_process.py")),
        redis.url,
        str(per_minute),
        str(calls),
    ]
    with ExitStack() as stack:
        start_server = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(processes)
        ]
        try:
            for process in start_server:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            yield start_server
        finally:
            for process in start_server:
                if process.poll() is None:
                    process.kill()


def start_calls(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def await_members(redis: RedisProcess, number: int) -> None:
    """Wait until so many processes know of each other: without Redis, each takes its share of the limit."""
    # The first exchange after the last one has joined tells how many they are; with the second, it was read.
    for _ in range(3):
        now = int(time.time() * 1e6)
        while not redis.ask("ZCOUNT", "headrace:members", f"({now}", "+inf").startswith(b":%d" % number):
            time.sleep(0.001)


def read_times(process: subprocess.Popen[str]) -> list[float]:
    out, _ = process.communicate(timeout=60 + 10 * FORGETTING_SECONDS)
    assert process.returncode == 0
    return [float(moment) for moment in out.split()]


def check_rate(times: list[float], per_second: float, slack: float = BURST + BOOKING_TTL) -> None:
    """Check that all calls together keep to the limit, plus ``slack`` seconds' worth."""
    assert len(times) <= (times[-1] - times[0] + slack) * per_second + 3


def test_eight_processes_keep_to_one_limit(redis: RedisProcess) -> None:
    with start_processes(redis, 8, per_minute=12_000, calls=150) as processes:
        start_calls(processes)
        each = [read_times(process) for process in processes]
    times = sorted(moment for process in each for moment in process)
    assert len(times) == 1200
    check_rate(times, 200)


def test_no_call_fails_when_redis_is_killed_and_restarted(redis: RedisProcess) -> None:
    with start_processes(redis, 3, per_minute=6000, calls=150) as processes:
        start_calls(processes)
        await_members(redis, 3)
        redis.kill()
        redis.start()
        times = sorted(moment for process in processes for moment in read_times(process))
    assert len(times) == 450
    # There is no second burst; turns booked before and after the gap may go in addition.
    check_rate(times, 100, BURST + BOOKING_TTL + 2 * HORIZON)


def flush(redis: RedisProcess) -> None:
    redis.ask("FLUSHALL")


def restart(redis: RedisProcess) -> None:
    redis.kill()
    redis.start()


@pytest.mark.parametrize(("forget", "every"), [(flush, 1.0), (restart, 2.0)], ids=["flushed", "restarted"])
def test_a_server_that_loses_its_data_repeatedly_keeps_the_limit(
    redis: RedisProcess, forget: Callable[[RedisProcess], None], every: float
) -> None:
    # To run it longer: TEST_FORGETTING_SECONDS=120 pytest -k loses_its_data_repeatedly
    with start_processes(redis, 4, per_minute=6000, calls=25 * FORGETTING_SECONDS) as processes:
        start_calls(processes)
        await_members(redis, 4)
        while any(process.poll() is None for process in processes):
            time.sleep(every)
            forget(redis)
        times = sorted(moment for process in processes for moment in read_times(process))
    assert len(times) == 100 * FORGETTING_SECONDS
    took = times[-1] - times[0]
    print(f"{len(times) / (took + BURST) / 100:.1%} of the limit")
    assert len(times) <= (took + BURST) * 100 * 1.1


def test_a_killed_process_loses_only_its_booked_turns(redis: RedisProcess) -> None:
    with start_processes(redis, 2, per_minute=6000, calls=200) as (victim, survivor):
        start_calls([victim, survivor])
        while b":2" not in redis.ask("ZCARD", "headrace:members"):
            pass
        victim.kill()
        assert len(read_times(survivor)) == 200


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    path.write_text("id,text\n" + "".join(f"{number},Hallo {number}\n" for number in range(100)))
    return path


def test_three_bulk_runs_on_one_account_get_almost_no_429(redis: RedisProcess, items: Path) -> None:
    pytest.importorskip("uvicorn")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OPENAI_"))
    }
    serve = [*COMMAND, "serve", "--port", "0", "--rate-limit", "100/s"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=kept) as endpoint:
        try:
            assert endpoint.stdout is not None
            url = endpoint.stdout.readline().removeprefix("Simulated endpoint at ").strip()
            environment = kept | {
                "OPENAI_BASE_URL": url,
                "HEADRACE_REDIS_URL": redis.url,
                "HEADRACE_REDIS_TIMEOUT": "20",
                "HEADRACE_REDIS_REQUESTS_PER_MINUTE": "6000",
                "HEADRACE_REDIS_BURST": "0.5",
                "HEADRACE_POLICIES": "redis",  # no retry: a 429 is a failed item
            }
            runs = [
                subprocess.Popen(
                    [*COMMAND, "run", str(items), *ASK, "--out", str(items.with_name(f"{number}.jsonl"))],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for number in range(3)
            ]
            outputs = [run.communicate(timeout=60)[0] for run in runs]
        finally:
            endpoint.terminate()
    refused = sum(items.with_name(f"{number}.jsonl").read_text().count("rate_limited") for number in range(3))
    # Alone, they get about 200. A process that the machine delays sends at once what it missed.
    assert refused <= 15, outputs
    assert sum(len(items.with_name(f"{number}.jsonl").read_text().splitlines()) for number in range(3)) == 300


@pytest.mark.parametrize("processes", [None, "2"])
def test_a_run_without_its_server_fails_at_the_start_or_warns_once(
    redis: RedisProcess, items: Path, processes: str | None
) -> None:
    pytest.importorskip("jinja2", reason="the command line is not installed")
    redis.kill()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OPENAI_"))
    }
    serve = [*COMMAND, "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=kept) as endpoint:
        try:
            assert endpoint.stdout is not None
            url = endpoint.stdout.readline().removeprefix("Simulated endpoint at ").strip()
            environment = kept | {"OPENAI_BASE_URL": url, "HEADRACE_REDIS_URL": redis.url}
            if processes is not None:
                environment["HEADRACE_REDIS_PROCESSES"] = processes
            done = subprocess.run(
                [*COMMAND, "run", str(items), *ASK, "--out", str(items.with_name("out.jsonl"))],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            endpoint.terminate()
    if processes is None:
        assert done.returncode == 2
        assert "cannot be used" in done.stderr
    else:
        assert done.returncode == 0
        assert done.stderr.count("continues alone, with 1/2 of the limits") == 1
