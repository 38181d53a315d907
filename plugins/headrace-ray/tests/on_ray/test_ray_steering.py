"""A run on a cluster is looked at and steered while it goes on."""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import signal
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
    read_run_facts,
    read_status,
)
from headrace.testing.server import Behaviour
from headrace_ray.blocks import BLOCK_ROWS
from headrace_ray.orders import ActorOrders
from headrace_ray.reports import read_reports
from headrace_ray.stop import INTERRUPT, StopSignal
from headrace_view.control import ControlClient, NoRunError, connect

from .conftest import lines_in, serving_process, write_rows
from .test_ray_engine import LIMIT, PATIENT, rows_by_id, wait_for_lines
from .test_ray_orphans import first_block, start_actor

Serving = Callable[[Behaviour], Any]
Command = Callable[..., "subprocess.Popen[str]"]
ROWS = 6 * BLOCK_ROWS
"""More blocks than one actor takes at once, so that both have some."""

IN_FLIGHT = 61

HOLD = 1.0
"""Seconds for which a pause is observed, after the calls in flight have ended."""


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


def ids_in(out: Path) -> set[str]:
    return {line["custom_id"] for line in lines_in(out)}


def block_rests(out: Path) -> list[str]:
    """The next rows of blocks that are not finished: with no free call, some are in flight."""
    done = ids_in(out)
    ids = list(rows_by_id(out.parent))
    blocks = [ids[first : first + BLOCK_ROWS] for first in range(0, ROWS, BLOCK_ROWS)]
    begun = [[id for id in block if id not in done] for block in blocks if not done.isdisjoint(block)]
    return [id for rest in begun for id in rest[:IN_FLIGHT]]


@pytest.mark.usefixtures("runtime")
def test_a_run_is_steered_through_its_driver(
    tmp_path: Path, command: Command, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 1, ROWS)
    out = tmp_path / "out"
    arguments = ["in", "--out", "out", "--prompt", "Sort {name} at {price}", "--model", "deepseek-v3.2"]
    arguments += ["--actors", "2", "--max-in-flight", "5"]
    with serving_process(Behaviour(latency=1.0)) as endpoint:
        url = endpoint.base_url
        start = functools.partial(command, url, *arguments, **PATIENT)
        process = start()
        with connected(out) as client:
            until(lambda: client.status()["engine_status"] == "2 of 2 actors" and client.status()["done"])
            status = client.status()
            assert (status["state"], status["engine"], status["total"]) == ("running", "ray", ROWS)
            assert status["max_in_flight"] == 5
            assert 0 < status["in_flight"] <= 5
            assert status["completion_tokens"] > status["prompt_tokens"] > 0
            assert float(status["cost"]) > 0
            with pytest.raises(ControlRefused, match="must be at least 2, the number of actors"):
                client.send(SetLimit(name="max-in-flight", value="1"))
            client.send(SetLimit(name="max-in-flight", value=str(IN_FLIGHT)))
            check_that_a_pause_holds(client, lambda: requests_at(url), out)
            sent = requests_at(url)
            client.send(SetLimit(name="budget", value="100"))
            client.send(ResumeRun())
            until(lambda: requests_at(url) > sent or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            until(lambda: client.status()["in_flight"] == IN_FLIGHT)  # the shares of both actors
            os.kill(endpoint.pid, signal.SIGSTOP)
            until(lambda: client.status()["in_flight"] == IN_FLIGHT)
            cancelled = client.send(CancelItems(ids=block_rests(out)))
            assert cancelled.message.startswith("Cancelled in flight: ")
            os.kill(endpoint.pid, signal.SIGCONT)
            until(lambda: client.status()["failed"] == len(cancelled.cancelled))
            client.send(PauseRun())
            process.kill()  # no pause is left over
        process.communicate(timeout=LIMIT)
        failed = {line["custom_id"]: line["error"] for line in lines_in(out) if line["error"]}
        assert set(failed) == set(cancelled.cancelled)
        assert {"cancelled", "cancelled while it was in flight"} <= {
            text for error in failed.values() for text in error.values()
        }
        process = start()
        with connected(out) as client:
            until(lambda: client.status()["succeeded"])
            status = client.status()
            assert (status["max_in_flight"], status["limits"]["budget"]) == (5, None)
            assert status["failed_before"] == len(failed)
            done = ids_in(out)
            last = [id for id in rows_by_id(tmp_path) if id not in done][-5:]
            assert client.send(CancelItems(ids=last)).message.startswith("Fail when their turn comes, if ")
            assert "again when all others are done" in client.send(RetryFailed()).message
            client.send(SetLimit(name="max-in-flight", value="600"))
            text, errors = process.communicate(timeout=3 * LIMIT)  # two sessions
        assert process.returncode == 1, errors
        with pytest.raises(NoRunError, match="no run is alive; begin it again"):
            connect(out)
        sent = requests_at(url)
    assert f"{ROWS:,} of {ROWS:,} items done" in text, errors
    lines = lines_in(out)
    assert sorted(line["custom_id"] for line in lines) == sorted(rows_by_id(tmp_path))
    unsent = [line for line in lines if line["error"]]
    assert {line["custom_id"] for line in unsent} == set(last)
    assert {line["headrace"]["attempts"] for line in unsent} == {0}
    assert sent <= ROWS - 5 + len(failed) + IN_FLIGHT + 2 * 15, "more was sent again than was in flight"
    assert read_status(out)["done"] == ROWS
    changes = dict(read_run_facts(out))["Changes"]
    for change in (f"max-in-flight: 5 → {IN_FLIGHT}", "state: running → paused", "retry-failed: "):
        assert change in changes
    assert not list(out.glob(".s*"))


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.usefixtures("cluster")
def test_a_paused_actor_ends_its_block_when_the_session_stops(
    tmp_path: Path, serving: Serving, requests_at: Callable[[str], int], drop: bool
) -> None:
    import ray

    write_rows(tmp_path / "in", 1, BLOCK_ROWS)
    out, stop = tmp_path / "out", StopSignal(tmp_path / "out", "s")
    stop.shared.mkdir(parents=True)
    (out / "run.journal").touch()
    orders = ActorOrders(stop.shared, 1, 4)
    with serving(Behaviour(latency=0.05)) as url:
        actor = start_actor(tmp_path, url, "s", max_in_flight=4, steered=True)
        answer = actor.ask.remote(first_block(tmp_path))
        wait_for_lines(out, 8)
        orders.paused = True
        until(lambda: [report.followed for report, _ in read_reports(stop.shared)] == [1])
        until(lambda: len(lines_in(out)) == requests_at(url))
        stop.request(INTERRUPT, drop=drop)  # a deadline drops the calls in flight
        (summary,) = ray.get(answer, timeout=LIMIT).column("summary").to_pylist()
        assert requests_at(url) == len(lines_in(out)) == pickle.loads(summary).succeeded < BLOCK_ROWS
    ray.kill(actor)
