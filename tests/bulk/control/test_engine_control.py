"""The control of a run that an engine has to itself: what it has in common with others, and its thread."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import hookimpl
from headrace.bulk import (
    CancelItems,
    Cancellation,
    ControlMessage,
    GetStatus,
    PauseRun,
    ResumeRun,
    RetryFailed,
    RunControl,
    RunSnapshot,
    RunStatus,
    SetLimit,
    StopRun,
    Summary,
    accompanied_in_thread,
    control_address,
    encode_message,
    run_identity,
)
from headrace.bulk.control.records import read_changes
from headrace.errors import ControlRefused

pytestmark = pytest.mark.anyio


class EngineRun(RunControl):
    """A run of an engine, which keeps what it is asked for; it is an executor and a journal as well."""

    def __init__(self, out: Path, sidecar: int) -> None:
        self.sidecar = sidecar
        self.max_in_flight = 4
        self.state: RunStatus = "running"
        super().__init__(out, self, self, engine="far")

    def snapshot(self) -> RunSnapshot:
        return self._snapshot_of(
            Summary(9), run="r", state=self.state, in_flight=2, engine_status="", circuits={}
        )

    @property
    def _state(self) -> RunStatus:
        return self.state

    @property
    def _in_flight(self) -> int:
        return 2

    def _pause(self) -> None:
        self.state = "paused"

    def _resume(self) -> None:
        self.state = "running"

    def _stop(self) -> None:
        self.state = "stopping"

    def _retry_failed(self) -> int:
        raise ControlRefused("not on this engine")

    @property
    def _when_retried(self) -> str:
        return "never"

    async def _cancel(self, ids: Sequence[str]) -> Cancellation:
        return Cancellation(perhaps_later=[id for id in ids if id != "x"], finished=["x"])


@pytest.fixture
def engine_run(tmp_path: Path) -> Iterator[EngineRun]:
    """A run whose output is a folder."""
    (tmp_path / "out").mkdir()
    sidecar = os.open(tmp_path / "out" / "run.journal", os.O_RDWR | os.O_CREAT)
    os.write(sidecar, b'{"headrace":2,"run":"r"}\n')
    yield EngineRun(tmp_path / "out", sidecar)
    os.close(sidecar)


async def reply(control: RunControl, message: ControlMessage) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(await control.reply_to(encode_message(message)))
    return answer


async def test_the_messages_of_an_engine_are_those_of_all_runs(
    engine_run: EngineRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace")
    status = await reply(engine_run, GetStatus())
    assert (status["state"], status["in_flight"], status["engine"]) == ("running", 2, "far")
    assert (status["total"], status["limits"]) == (9, {"max-in-flight": 4})
    said = [
        (await reply(engine_run, message))["message"]
        for message in (
            ResumeRun(),
            PauseRun(),
            PauseRun(),
            SetLimit(name="max-in-flight", value="7"),
            SetLimit(name="max-in-flight", value=7),
            SetLimit(name="budget", value=1),
            RetryFailed(),
            CancelItems(ids=["a", "x", "a"]),
            CancelItems(ids=["x"]),
            CancelItems(ids=[]),
            ResumeRun(),
            StopRun(),
            StopRun(),
            PauseRun(),
        )
    ]
    assert said == [
        "The run is not paused.",
        "Paused: no more items are sent; 2 calls in flight will be finished.",
        "The run is paused already.",
        "max-in-flight: 4 → 7.",
        "max-in-flight is 7 already.",
        "budget: no policy of this run has it; the client was made without the policy 'cost'",
        "not on this engine",
        "Fail when their turn comes, if the input has them: a. Done already: x.",
        "Done already: x.",
        "no ids: name the items to cancel",
        "Resumed: items are sent again.",
        "Stopping: calls in flight are being finished; run its command again to continue.",
        "The run is stopping already.",
        "the run is stopping; run its command again to continue it",
    ]
    assert engine_run.out is not None
    made = [str(change) for change in read_changes(engine_run.out)]
    assert made == [
        "state: running → paused",
        "max-in-flight: 4 → 7",
        "cancelled: a",
        "state: paused → running",
        "state: running → stopping",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"{engine_run.out}: {text}" for text in made
    ]
    engine_run.state = "ended"
    assert "the run has ended" in (await reply(engine_run, StopRun()))["message"]


async def test_what_cannot_be_done_is_not_recorded(
    engine_run: EngineRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ControlRefused("the disk is full")

    monkeypatch.setattr(engine_run, "_pause", fail)
    monkeypatch.setattr(engine_run, "_stop", fail)
    assert (await reply(engine_run, PauseRun()))["message"] == "the disk is full"
    assert (await reply(engine_run, StopRun()))["message"] == "the disk is full"
    assert read_changes(str(engine_run.out)) == []


async def test_of_a_long_value_the_beginning_is_recorded(
    engine_run: EngineRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_run._limits, "change", lambda name, value: ("8" * 10**6, "9" * 10**6))
    said = await reply(engine_run, SetLimit(name="of a plugin", value=9))
    assert len(said["message"]) < 450
    (change,) = read_changes(str(engine_run.out))
    assert change.new == f"{'9' * 199}…"


async def test_the_sidecar_of_a_folder_is_in_it(engine_run: EngineRun) -> None:
    assert engine_run.out is not None
    assert control_address(engine_run.out) is None
    engine_run.announce("/run/x.sock")
    assert control_address(engine_run.out) == "/run/x.sock"
    assert run_identity(engine_run.out).id == "r"


class Companion:
    """A plugin whose contexts note what happens to them."""

    def __init__(self, opened: list[str], error: Exception | None = None) -> None:
        self._opened = opened
        self._error = error

    @hookimpl
    def headrace_run_context(self, control: RunControl) -> Any:
        return self._context()

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        self._opened.append("opened")
        if self._error is not None:
            raise self._error
        assert threading.current_thread() is not threading.main_thread()
        yield
        self._opened.append("closed")


def test_contexts_are_open_in_a_thread(engine_run: EngineRun, install: Callable[..., None]) -> None:
    opened: list[str] = []
    install(one=Companion(opened), two=Companion(opened))
    with accompanied_in_thread(engine_run) as is_accompanied:
        assert is_accompanied
        assert opened == ["opened", "opened"]
    assert opened == ["opened", "opened", "closed", "closed"]


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
def test_contexts_are_closed_after_an_error_of_the_run(
    engine_run: EngineRun, install: Callable[..., None], error: BaseException
) -> None:
    opened: list[str] = []
    install(one=Companion(opened))
    with pytest.raises(type(error)), accompanied_in_thread(engine_run):
        raise error
    assert opened == ["opened", "closed"]


def test_a_context_that_fails_does_not_disturb_the_run(
    engine_run: EngineRun, install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []
    install(bad=Companion(opened, OSError("no socket")), good=Companion(opened))
    with accompanied_in_thread(engine_run):
        pass
    assert opened == ["opened", "opened", "closed"]
    (record,) = caplog.records
    assert record.getMessage().endswith("does not accompany this run: OSError: no socket")


def test_without_plugins_there_is_no_thread(engine_run: EngineRun, install: Callable[..., None]) -> None:
    install()
    before = threading.active_count()
    with accompanied_in_thread(engine_run) as is_accompanied:
        assert not is_accompanied
        assert threading.active_count() == before
