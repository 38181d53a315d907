"""Whether a run is alive: the rule, and the files and sockets that it is judged by."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from control_runs import HeldEndpoint, held_run
from headrace_view.file_locks import FileLocks
from headrace_view.live_runs import SocketRuns
from headrace_view.liveness import Liveness, Signs
from headrace_view.runs import Runs
from headrace_view.web import Change, RunGone
from headrace_view.web.run_watch import RunWatch
from view_lines import make_line, write_output

RUNNING, KILLED, NOT_RUNNING = "running", "killed", "not running"
ANSWERS = {"answers": True, "locked": True}
NO_LOCKS = {"answers": True}
GONE = {"refuses": True, "locked": False}
LEFT = {"refuses": True, "socket_left": True, "locked": False}


@pytest.mark.parametrize(
    "looks",
    [
        # A look: the time, when the output was changed, what else is seen, and the state.
        pytest.param([(10, 1, ANSWERS, RUNNING), (11, 10.9, GONE, NOT_RUNNING)], id="ended"),
        pytest.param([(10, 1, NO_LOCKS, RUNNING), (11, 10.9, {"refuses": True}, NOT_RUNNING)], id="no locks"),
        pytest.param([(10, 1, ANSWERS, RUNNING), (11, 10.9, LEFT, KILLED)], id="killed"),
        pytest.param([(10, 9.9, LEFT, NOT_RUNNING)], id="ended before the first look"),
        pytest.param([(10, 9.9, {**LEFT, "torn": True}, KILLED)], id="killed within a line"),
        pytest.param(
            [(10, 9.9, {}, RUNNING), (24, 9.9, {}, RUNNING), (25, 9.9, {}, NOT_RUNNING)], id="growth"
        ),
        pytest.param([(10, 9.9, {"locked": True}, RUNNING), (60, 9.9, {"locked": True}, RUNNING)], id="slow"),
        pytest.param(
            [(10, 9.9, {"locked": True}, RUNNING), (11, 9.9, {"locked": False}, NOT_RUNNING)], id="lock"
        ),
        pytest.param(
            [(10, 1, ANSWERS, RUNNING), (11, 1, {"refuses": True, "locked": True}, RUNNING)], id="table"
        ),
        pytest.param(
            [
                (10, 9, NO_LOCKS, RUNNING),
                (11, 10.9, {"refuses": True, "socket_left": True}, KILLED),
                (12, 11.9, {"refuses": True, "socket_left": True}, RUNNING),
                (26, 11.9, {"refuses": True, "socket_left": True}, RUNNING),
                (27, 11.9, {"refuses": True, "socket_left": True}, NOT_RUNNING),
            ],
            id="killed, and continued without the plugin",
        ),
        pytest.param(
            [(10, 9, LEFT, NOT_RUNNING), (11, 10.9, LEFT, RUNNING), (12, 11.9, LEFT, RUNNING)],
            id="continued where its lock is not seen",
        ),
        pytest.param(
            [
                (10, 9, ANSWERS, RUNNING),
                (11, 9, LEFT, KILLED),
                (12, 9, ANSWERS, RUNNING),
                (13, 9, LEFT, KILLED),
            ],
            id="killed twice",
        ),
        pytest.param(
            [
                (10, 9, ANSWERS, RUNNING),
                (11, 9, LEFT, KILLED),
                (12, 9, {**LEFT, "locked": True}, RUNNING),
                (13, 12.9, LEFT, NOT_RUNNING),
            ],
            id="killed, continued without the plugin, and ended",
        ),
        pytest.param(
            [(10, 9, {**LEFT, "locked": True}, RUNNING), (11, 9, ANSWERS, RUNNING), (12, 11, LEFT, KILLED)],
            id="begins to listen",
        ),
        pytest.param(
            [(10, 9, ANSWERS, RUNNING), (12, 11, {"locked": True}, RUNNING), (13, 11, LEFT, KILLED)],
            id="busy",
        ),
        pytest.param([(10, None, {}, NOT_RUNNING), (11, None, {"locked": True}, RUNNING)], id="no output"),
    ],
)
def test_the_state_of_a_run(looks: list[tuple[float, float | None, dict[str, Any], str]]) -> None:
    liveness = Liveness()
    for now, modified, seen, state in looks:
        assert liveness.judge(Signs(modified=modified, **seen), now) == state, now


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    made = Path(tempfile.mkdtemp(prefix="hr"))
    yield made
    shutil.rmtree(made)


def write_run(folder: Path, address: Path | None) -> Path:
    """An output whose sidecar names a socket."""
    out = write_output(folder / "out.jsonl", [make_line(1)])
    record = "" if address is None else f'{{"control": "{address}"}}\n'
    (folder / "out.jsonl.journal").write_text('{"headrace": 2, "model": "m"}\n' + record, encoding="utf-8")
    return out


def test_a_socket_that_refuses_is_asked_once_for_each_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, out = SocketRuns(), write_run(folder, None)
    assert live.status(out) is None
    assert live.status(folder / "other.jsonl") is None
    asked = []
    monkeypatch.setattr("headrace_view.live_runs.control_address", lambda out: asked.append(out))
    assert live.status(out) is None
    assert asked == []
    monkeypatch.undo()
    address = folder / "a.sock"
    write_run(folder, address)
    for socket_left in (False, True):
        if socket_left:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(address))
            write_run(folder, address)
            with (folder / "out.jsonl.journal").open("a", encoding="utf-8") as sidecar:
                sidecar.write("{}\n")
        for _ in range(2):
            with pytest.raises(RunGone) as caught:
                live.status(out)
            assert caught.value.socket_left is socket_left


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the page runs on it
async def test_a_run_answers_until_it_has_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    live, out, endpoint = SocketRuns(), folder / "out.jsonl", HeldEndpoint()
    async with held_run(out, endpoint) as going:
        status = await anyio.to_thread.run_sync(live.status, out)
        assert status is not None
        assert status["state"] == "running"
        said = await anyio.to_thread.run_sync(live.change, out, Change("set", "max-in-flight", "3"))
        assert "max-in-flight" in said
        endpoint.release()
        await going.wait()
    with pytest.raises(RunGone) as caught:
        live.status(out)
    assert not caught.value.socket_left


def test_a_run_that_is_busy_may_be_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_view.live_runs._LONGEST_WAIT", 0.01)
    address = folder / "a.sock"
    out = write_run(folder, address)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(0)
        live = SocketRuns()
        assert live.status(out) is None  # no reply comes
        assert live.status(out) is None  # its queue is full


def test_without_a_list_of_locks_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_view.file_locks._LIST", str(tmp_path / "none"))
    with write_run(tmp_path, None).open("rb") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        locks = FileLocks()
        locks.look([out.fileno()])
        assert locks.holds(os.fstat(out.fileno())) is None


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")
def test_the_lock_of_a_run_is_seen_and_not_taken(tmp_path: Path) -> None:
    out = write_run(tmp_path, None)
    runs = Runs([out])
    runs.get(0)
    watch = RunWatch(SocketRuns())
    run = runs.all[0]
    with (tmp_path / "out.jsonl.journal").open("rb") as sidecar:
        fcntl.flock(sidecar, fcntl.LOCK_EX)
        (seen,) = watch.look([run], 0)
        assert seen.state == RUNNING
    (seen,) = watch.look([run], run.modified or 0)
    assert (seen.state, seen.live) == (NOT_RUNNING, False)
    runs.close()
    locks = FileLocks()
    locks.look([])
    assert locks.holds(out.stat()) is None  # no lock of this process shows that locks are listed
