"""`headrace run --processes N`: one progress bar, signals, kills, and resuming."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.test_interruption import check_complete, wait_for_lines

Lines = Callable[[str], list[dict[str, Any]]]
ASK = ("--prompt", "{id}: {text}", "--model", "m", "--out", "out.jsonl", "--max-in-flight", "20")
TWO = (*ASK, "--processes", "2")


def workers_of(parent: int) -> list[int]:
    """The processes that this one has started."""
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def has_ended(process: int) -> bool:
    """Whether a process has ended; it may still be a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_several_processes_write_one_output_and_one_summary(
    headrace: Any, questions: Path, lines_of: Lines
) -> None:
    result = headrace.run("run", "questions.csv", *TWO, HEADRACE_RETRY_ATTEMPTS="5")
    assert result.code == 0, result.err
    assert "300 of 300 items done" in result.out
    check_complete(lines_of("out.jsonl"))
    assert "300 of 300 items done" in headrace.run("run", "questions.csv", *ASK).out


def test_a_signal_finishes_calls_in_flight(
    headrace: Any, in_process: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    with serving("--latency", "150ms") as url:
        environment = {"OPENAI_BASE_URL": url}
        # In a new session, with the signal to all its processes, as Ctrl-C on a terminal does.
        with headrace.start("run", "questions.csv", *TWO, env=environment, start_new_session=True) as process:
            wait_for_lines(questions.with_name("out.jsonl"), 30)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        done = len(lines_of("out.jsonl"))
        assert 30 <= done < 300
        assert f"{done} of 300 items done" in out
        assert in_process.run("run", "questions.csv", *TWO, **environment).code == 0
    check_complete(lines_of("out.jsonl"))


def test_workers_of_a_killed_run_exit_and_the_same_command_continues(
    headrace: Any, in_process: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    with serving("--latency", "50ms") as url:
        environment = {"OPENAI_BASE_URL": url}
        with headrace.start("run", "questions.csv", *TWO, env=environment) as process:
            wait_for_lines(questions.with_name("out.jsonl"), 50)
            workers = workers_of(process.pid)
            process.kill()
            process.communicate(timeout=30)
        assert len(workers) == 2
        end = time.monotonic() + 20
        while not all(map(has_ended, workers)):
            assert time.monotonic() < end, "workers outlive their run"
            time.sleep(0.02)
        assert in_process.run("run", "questions.csv", *TWO, **environment).code == 0
    check_complete(lines_of("out.jsonl"))


def test_all_processes_log_with_verbose(headrace: Any, questions: Path) -> None:
    result = headrace.run("run", "questions.csv", *TWO, "--verbose")
    assert result.code == 0, result.err
    assert result.err.count(" INFO call ok ") == 300


def test_mistakes_with_processes_are_errors_before_anything_is_sent(in_process: Any, questions: Path) -> None:
    result = in_process.run("run", "questions.csv", *TWO, "--max-in-flight", "1")
    assert result.code == 2
    assert "--processes 2: must be at least 1, and at most --max-in-flight 1" in result.err
    assert in_process.run("run", "questions.csv", *ASK, "--processes", "0").code == 2
