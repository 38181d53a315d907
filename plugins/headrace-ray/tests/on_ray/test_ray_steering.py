"""A run on a cluster is looked at and steered while it goes on."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import ControlRefused
from headrace.bulk import (
    CancelItems,
    PauseRun,
    ResumeRun,
    RetryFailed,
    SetLimit,
    StopRun,
    read_run_facts,
    read_status,
)
from headrace.testing.server import Behaviour
from headrace_view.control import ControlClient, NoRunError, connect

from .conftest import lines_in, write_rows
from .test_ray_engine import LIMIT, check_once_each, wait_for_lines

Serving = Callable[[Behaviour], Any]
Command = Callable[..., "subprocess.Popen[str]"]
ROWS = 3000
HOLD = 1.0
"""Seconds for which a pause is observed: a call takes a tenth of it."""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a short path for the sockets of runs."""
    folder = tempfile.mkdtemp(prefix="hr")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield
    shutil.rmtree(folder)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.05)


def connected(out: Path) -> ControlClient:
    """A connection to the run, once it takes messages."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return connect(out)
        except NoRunError:
            assert time.monotonic() < end, "the run takes no messages"
            time.sleep(0.05)


def check_that_a_pause_holds(client: ControlClient, requests: Callable[[], int], out: Path) -> None:
    message = client.send(PauseRun()).message
    assert message.startswith("Paused: no more items are sent; ")
    until(lambda: client.status()["in_flight"] == 0)
    sent = requests()
    until(lambda: client.status()["succeeded"] == sent)
    assert len(lines_in(out)) == sent
    time.sleep(HOLD)
    assert requests() == sent
    assert client.status()["state"] == "paused"


@pytest.mark.usefixtures("runtime")
def test_a_run_is_steered_through_its_driver(
    tmp_path: Path, serving: Serving, command: Command, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 1, ROWS)
    out = tmp_path / "out"
    arguments = ("in", "--out", "out", "--prompt", "Sort {name} at {price}", "--actors", "2")
    with serving(Behaviour(latency=0.1)) as url:
        start = functools.partial(
            command, url, *arguments, "--model", "deepseek-v3.2", "--max-in-flight", "20"
        )
        process = start()
        with connected(out) as client:
            until(lambda: client.status()["done"])
            status = client.status()
            assert (status["state"], status["engine"], status["total"]) == ("running", "ray", ROWS)
            assert (status["max_in_flight"], status["engine_status"]) == (20, "2 of 2 actors")
            assert 0 < status["in_flight"] <= 20
            assert status["completion_tokens"] > status["prompt_tokens"] > 0
            assert float(status["cost"]) > 0
            for message, why in (
                (SetLimit(name="max-in-flight", value="1"), "must be at least 2, the number of actors"),
                (CancelItems(ids=["1"]), "cannot cancel single items"),
                (RetryFailed(), 'with only="failed"'),
            ):
                with pytest.raises(ControlRefused, match=why):
                    client.send(message)
            client.send(SetLimit(name="max-in-flight", value="60"))
            until(lambda: client.status()["in_flight"] > 20)
            check_that_a_pause_holds(client, lambda: requests_at(url), out)
            sent = requests_at(url)
            client.send(SetLimit(name="budget", value="100"))
            client.send(ResumeRun())
            until(lambda: requests_at(url) > sent or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            client.send(PauseRun())
            process.kill()  # no pause is left over
        process.communicate(timeout=LIMIT)
        process = start()
        wait_for_lines(out, len(lines_in(out)) + 100, process)
        with connected(out) as client:
            until(lambda: client.status()["succeeded"])
            limits = client.status()["limits"]
            assert (limits["max-in-flight"], limits["budget"]) == (20, None)
            client.send(PauseRun())
            client.send(StopRun())  # also in a pause
            text, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 130, errors
        assert f"{len(lines_in(out)):,} of {ROWS:,} items done" in text
        assert read_status(out)["done"] == len(lines_in(out)) < ROWS
        with pytest.raises(NoRunError, match="no run is alive; begin it again"):
            connect(out)
        process = start("--deadline", "8s")
        with connected(out) as client:
            client.send(PauseRun())
            text, errors = process.communicate(timeout=LIMIT)  # also in a pause
        assert "deadline of 8 s passed" in text + errors
        text, errors = start("--max-in-flight", "60").communicate(timeout=LIMIT)
        sent = requests_at(url)
    assert f"{ROWS:,} of {ROWS:,} items done" in text, errors
    check_once_each(out, 1, ROWS)
    assert sent <= ROWS + 60 + 20 + 2 * 15, "more was sent again than was in flight when sessions ended"
    changes = dict(read_run_facts(out))["Changes"]
    for change in ("max-in-flight: 20 → 60", "state: running → paused", "state: paused → stopping"):
        assert change in changes
    assert not list(out.glob(".s*"))
