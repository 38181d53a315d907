"""A run that is interrupted, killed, or loses its endpoint: no finished item is lost or doubled."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lines = Callable[[str], list[dict[str, Any]]]
IN_FLIGHT = 20
ASK = ("--prompt", "{id}: {text}", "--model", "m", "--out", "out.jsonl", "--max-in-flight", str(IN_FLIGHT))
INTERRUPTIONS = int(os.environ.get("TEST_INTERRUPTIONS", "3"))
KILLS = int(os.environ.get("TEST_KILLS", "6"))


def wait_for_lines(path: Path, number: int) -> None:
    """Wait until the output has this number of complete lines."""
    end = time.monotonic() + 30
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert time.monotonic() < end, "the run makes no progress"
        time.sleep(0.005)


def check_complete(lines: list[dict[str, Any]]) -> None:
    """Check that each id has one line, with the answer to its own prompt."""
    assert sorted(line["custom_id"] for line in lines) == [f"Q{n:03}" for n in range(300)]
    for line in lines:
        assert line["error"] is None
        assert line["custom_id"] in line["response"]["body"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_calls_in_flight_and_says_how_to_continue(
    headrace: Any,
    in_process: Any,
    questions: Path,
    serving: Callable[..., Any],
    lines_of: Lines,
    number: signal.Signals,
) -> None:
    with serving("--latency", "150ms") as url:
        environment = {"OPENAI_BASE_URL": url}
        with headrace.start("run", "questions.csv", *ASK, env=environment) as process:
            wait_for_lines(questions.with_name("out.jsonl"), 30)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "run the same command again to continue" in out
        done = len(lines_of("out.jsonl"))
        assert 30 <= done < 300
        assert f"{done} of 300 items done" in out
        assert in_process.run("run", "questions.csv", *ASK, **environment).code == 0
    check_complete(lines_of("out.jsonl"))


def test_a_signal_ends_a_session_that_is_not_open_yet(headrace: Any, questions: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {"OPENAI_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1"}
        command = ("run", "questions.csv", *ASK, "--engine", "batch")
        with headrace.start(*command, env=environment) as process:
            silent.settimeout(30)
            for _ in range(2):  # the engine asks for batches, and would ask again for minutes
                silent.accept()[0].close()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "300 of 300 items are left unsent" in out, err


def test_a_second_signal_drops_calls_in_flight(
    headrace: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    with (
        serving("--latency", "60s") as url,
        headrace.start("run", "questions.csv", *ASK, env={"OPENAI_BASE_URL": url}) as process,
    ):
        wait_for_lines(questions.with_name("out.jsonl.journal"), 1)
        time.sleep(1)  # the signal handlers are set once the loop runs; without them it ends as well
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "Ctrl-C again drops them" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
    assert lines_of("out.jsonl") == []


def test_a_run_killed_at_random_moments_has_one_line_per_item(
    headrace: Any,
    in_process: Any,
    questions: Path,
    serving: Callable[..., Any],
    lines_of: Lines,
    counts: Callable[[str], dict[str, Any]],
) -> None:
    chance, out = random.Random(20261124), questions.with_name("out.jsonl")
    with serving("--latency", "40ms", "--jitter", "30ms") as url:
        environment = {"OPENAI_BASE_URL": url}
        acknowledged: set[str] = set()
        for kill in range(KILLS):
            with headrace.start("run", "questions.csv", *ASK, env=environment) as process:
                wait_for_lines(out, min(280, (kill + 1) * 280 // (KILLS + 1) + chance.randrange(10)))
                process.kill()
                process.communicate(timeout=30)
            whole = out.read_bytes().rpartition(b"\n")[0].splitlines()
            now = {line.split(b'"custom_id":"')[1][:4].decode() for line in whole}
            assert acknowledged <= now, "an item that was done is gone"
            acknowledged = now
        result = in_process.run("run", "questions.csv", *ASK, **environment)
        assert result.code == 0, result.err
        sent = counts(url)["requests"]
    check_complete(lines_of("out.jsonl"))
    assert sent <= 300 + KILLS * IN_FLIGHT, "more was sent again than was in flight"


def test_two_runs_cannot_share_an_output(headrace: Any, questions: Path, serving: Callable[..., Any]) -> None:
    with serving("--latency", "5s") as url:
        environment = {"OPENAI_BASE_URL": url}
        with headrace.start("run", "questions.csv", *ASK, env=environment) as process:
            wait_for_lines(questions.with_name("out.jsonl.journal"), 1)
            second = headrace.run("run", "questions.csv", *ASK, **environment)
            process.kill()
            process.communicate(timeout=30)
    assert second.code == 2
    assert "another run is writing to it" in second.err


def test_the_run_waits_for_an_endpoint_that_goes_away(
    headrace: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    quick = {"HEADRACE_RETRY_BASE": "0.01", "HEADRACE_BREAKER_OPEN_FOR": "0.5"}
    with serving("--latency", "50ms") as url:
        process = headrace.start("run", "questions.csv", *ASK, env={"OPENAI_BASE_URL": url} | quick)
        wait_for_lines(questions.with_name("out.jsonl"), 40)
    port = url.rpartition(":")[2].removesuffix("/v1")
    time.sleep(2)  # an outage of four openings of the circuit
    with serving("--latency", "50ms", "--port", port), process:
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    failed = [line["error"]["code"] for line in lines_of("out.jsonl") if line["error"]]
    # The calls in flight at the outage, and the probes during it; all others waited.
    assert len(failed) <= 2 * IN_FLIGHT
    assert set(failed) <= {"connect_error", "incomplete_reply"}
    assert process.returncode == (1 if failed else 0)
    assert sorted(line["custom_id"] for line in lines_of("out.jsonl")) == [f"Q{n:03}" for n in range(300)]


def test_items_that_failed_in_an_outage_are_sent_again_with_retry_failed(
    headrace: Any, in_process: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    with serving("--latency", "50ms") as url:
        environment = {"OPENAI_BASE_URL": url, "HEADRACE_POLICIES": "cost"}  # neither retry nor breaker
        process = headrace.start("run", "questions.csv", *ASK, env=environment)
        wait_for_lines(questions.with_name("out.jsonl"), 40)
    with process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    kinds = {line["error"]["code"] for line in lines_of("out.jsonl") if line["error"]}
    assert kinds
    assert kinds <= {"connect_error", "incomplete_reply"}
    assert in_process.run("run", "questions.csv", *ASK, "--retry-failed").code == 0
    check_complete(lines_of("out.jsonl"))


def test_after_a_deadline_the_same_command_continues(
    in_process: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    with serving("--latency", "100ms") as url:
        stopped = in_process.run("run", "questions.csv", *ASK, "--deadline", "700ms", OPENAI_BASE_URL=url)
        assert (stopped.code, "Stopped: the run's deadline of 0.7 s passed" in stopped.out) == (1, True)
        assert 0 < len(lines_of("out.jsonl")) < 300
        assert in_process.run("run", "questions.csv", *ASK, OPENAI_BASE_URL=url).code == 0
    check_complete(lines_of("out.jsonl"))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_disk_that_becomes_full_is_one_line_and_the_same_command_continues(
    headrace: Any, in_process: Any, questions: Path, lines_of: Lines, processes: str
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    with headrace.start("run", "questions.csv", *ASK, "--processes", processes, preexec_fn=limit) as process:
        _, errors = process.communicate(timeout=30)
    safe = questions.with_name("out.jsonl").read_bytes().count(b"\n")
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("headrace: ")
    assert f"out.jsonl: File too large; {safe} items are safe there; free some space, then run" in errors
    assert "Traceback" not in errors
    assert 0 < safe < 300
    assert in_process.run("run", "questions.csv", *ASK).code == 0
    check_complete(lines_of("out.jsonl"))


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_a_command_interrupted_at_any_moment_exits_with_130(
    headrace: Any, questions: Path, serving: Callable[..., Any], options: tuple[str, ...]
) -> None:
    # Before the first line of the command runs, Python itself handles a signal.
    rng = random.Random(20)
    with serving("--latency", "60s") as url:
        for _ in range(INTERRUPTIONS):
            with headrace.start(
                "run", "questions.csv", *ASK, *options, env={"OPENAI_BASE_URL": url}, start_new_session=True
            ) as process:
                time.sleep(rng.uniform(0.15, 1.5))
                os.killpg(process.pid, signal.SIGINT)
                try:
                    _, err = process.communicate(timeout=3)
                except subprocess.TimeoutExpired:  # the run had begun
                    os.killpg(process.pid, signal.SIGINT)  # drops the calls in flight
                    _, err = process.communicate(timeout=30)
            assert (process.returncode, "Traceback" in err) == (130, False), err
