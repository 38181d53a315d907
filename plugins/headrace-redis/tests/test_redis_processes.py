"""Several processes on one account: one limit for all of them, and what becomes of it when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headrace_redis.lane import HORIZON, KEPT
from redis_server import RedisServer

BURST = 1.0
FORGETTING_SECONDS = int(os.environ.get("TEST_FORGETTING_SECONDS", "8"))
ASK = ("--prompt", "{text}", "--model", "m", "--max-in-flight", "50")
COMMAND = [sys.executable, "-c", "from headrace_command import main; main()"]


@contextmanager
def sharing(
    redis: RedisServer, processes: int, a_minute: float, calls: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have all begun, and wait for a line on stdin."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("sharing.py")),
        redis.url,
        str(a_minute),
        str(calls),
    ]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(processes)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            yield started
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()


def go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def went(process: subprocess.Popen[str]) -> list[float]:
    out, _ = process.communicate(timeout=60 + 10 * FORGETTING_SECONDS)
    assert process.returncode == 0
    return [float(moment) for moment in out.split()]


def check_rate(moments: list[float], a_second: float, besides: float = BURST + KEPT) -> None:
    """As many as the limit allows from first to last, and so many seconds' worth: of a minute 1.2 are 2 %."""
    assert len(moments) <= (moments[-1] - moments[0] + besides) * a_second + 3


def test_eight_processes_keep_to_one_limit(redis: RedisServer) -> None:
    with sharing(redis, 8, a_minute=12_000, calls=150) as processes:
        go(processes)
        each = [went(process) for process in processes]
    moments = sorted(moment for process in each for moment in process)
    assert len(moments) == 1200
    check_rate(moments, 200)


def test_redis_killed_and_started_again_costs_no_call(redis: RedisServer) -> None:
    with sharing(redis, 3, a_minute=6000, calls=150) as processes:
        go(processes)
        # Once all are members, and so know of each other.
        while b":3" not in redis.ask("ZCARD", "headrace:members"):
            pass
        redis.kill()
        redis.start()
        moments = sorted(moment for process in processes for moment in went(process))
    assert len(moments) == 450
    # There is no second burst; what was booked on either side of the gap may go besides.
    check_rate(moments, 100, BURST + KEPT + 2 * HORIZON)


def flush(redis: RedisServer) -> None:
    redis.ask("FLUSHALL")


def restart(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


@pytest.mark.parametrize(("forget", "every"), [(flush, 1.0), (restart, 2.0)], ids=["flushed", "restarted"])
def test_a_server_that_forgets_again_and_again_lets_no_more_go(
    redis: RedisServer, forget: Callable[[RedisServer], None], every: float
) -> None:
    # For longer: TEST_FORGETTING_SECONDS=120 pytest -k forgets_again
    with sharing(redis, 4, a_minute=6000, calls=25 * FORGETTING_SECONDS) as processes:
        go(processes)
        while b":4" not in redis.ask("ZCARD", "headrace:members"):
            pass
        while any(process.poll() is None for process in processes):
            time.sleep(every)
            forget(redis)
        moments = sorted(moment for process in processes for moment in went(process))
    assert len(moments) == 100 * FORGETTING_SECONDS
    took = moments[-1] - moments[0]
    print(f"{len(moments) / (took + BURST) / 100:.1%} of the limit")
    assert len(moments) <= (took + BURST) * 100 * 1.1


def test_what_a_killed_process_had_booked_is_all_that_is_lost(redis: RedisServer) -> None:
    with sharing(redis, 2, a_minute=6000, calls=200) as (victim, survivor):
        go([victim, survivor])
        while b":2" not in redis.ask("ZCARD", "headrace:members"):
            pass
        victim.kill()
        assert len(went(survivor)) == 200


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    path.write_text("id,text\n" + "".join(f"{number},Hallo {number}\n" for number in range(100)))
    return path


def test_three_bulk_runs_on_one_account_meet_hardly_a_429(redis: RedisServer, items: Path) -> None:
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
            said = [run.communicate(timeout=60)[0] for run in runs]
        finally:
            endpoint.terminate()
    refused = sum(items.with_name(f"{number}.jsonl").read_text().count("rate_limited") for number in range(3))
    # Each by itself they meet some 200. A process that the machine holds up sends at once what it missed.
    assert refused <= 15, said
    assert sum(len(items.with_name(f"{number}.jsonl").read_text().splitlines()) for number in range(3)) == 300


@pytest.mark.parametrize("processes", [None, "2"])
def test_a_run_without_its_server_ends_at_the_start_or_says_once_that_it_has_a_share(
    redis: RedisServer, items: Path, processes: str | None
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
        assert done.stderr.count("goes on by itself, with 1/2 of the limits") == 1
