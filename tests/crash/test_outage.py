"""An endpoint that is killed during a run, and started again after all attempts of a call have failed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.crash.campaign import COMMAND
from tests.crash.checks import check_complete
from tests.crash.inputs import Form, write_input
from tests.crash.serving import Served, environment

SETTINGS = """
[retry]
base = 0.05  # all tries of a call are over within a fifth of a second

[breaker]
down_after = 0.3
open_for = 1.0
"""


def started(
    folder: Path, endpoint: Served, form: Form, items: int, in_flight: int
) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start `headrace run`; return its process, and the prompt of each id."""
    arguments, prompts = write_input(folder, form, items, random.Random(2))
    command = [*COMMAND, "run", *arguments, "--out", "out.jsonl", "--max-in-flight", str(in_flight)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(endpoint.url),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return process, prompts


def wait_for_lines(path: Path, number: int) -> None:
    """Wait until the output has this number of lines."""
    end = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert time.monotonic() < end, "the run makes no progress"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("form", "in_flight", "settings"),
    [
        (Form("jsonl"), 50, SETTINGS),
        (Form("batch", processes=2), 50, SETTINGS),
        # Too few attempts to open the circuit at once, so some items fail before it opens.
        (Form("parquet"), 3, SETTINGS.replace("[retry]", "[retry]\nattempts = 2")),
    ],
    ids=["one process", "two processes", "few at once"],
)
def test_an_outage_after_successes_fails_no_item(
    tmp_path: Path, form: Form, in_flight: int, settings: str
) -> None:
    (tmp_path / "headrace.toml").write_text(settings)
    out = tmp_path / "out.jsonl"
    with Served("--latency=5ms") as endpoint:
        process, prompts = started(tmp_path, endpoint, form, 900, in_flight)
        with process:
            wait_for_lines(out, 300)
            endpoint.kill()
            time.sleep(3)  # ten times the duration of all attempts of a call; two probes fail
            during = out.read_bytes().count(b"\n")
            endpoint.start()
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert during < 900
    check_complete(out, prompts, form)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_finishes_calls_in_flight_and_loses_nothing(tmp_path: Path, processes: int) -> None:
    form, out = Form("jsonl", processes), tmp_path / "out.jsonl"
    with Served("--latency=50ms") as endpoint:
        process, prompts = started(tmp_path, endpoint, form, 300, 20)
        with process:
            wait_for_lines(out, 50)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in errors) == (130, False), errors
        done = out.read_bytes()
        assert endpoint.answered() == done.count(b"\n")  # each answer has its line
        ended = subprocess.run(
            process.args,
            cwd=tmp_path,
            env=environment(endpoint.url),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert endpoint.answered() == 300
    assert out.read_bytes().startswith(done)
    check_complete(out, prompts, form)
