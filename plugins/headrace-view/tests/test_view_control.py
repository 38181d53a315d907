"""The control socket of a run: who can reach it, and what clients can do to the run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import headrace
from control_runs import HeldEndpoint, held_run, until
from headrace import ControlRefused
from headrace.bulk import PauseRun, ResumeRun, SetLimit, StopRun, control_address
from headrace_view.control import NoRunError, connect, connect_async
from headrace_view.control import server as server_module
from headrace_view.control.runtime_folder import socket_path
from headrace_view.control.stale_sockets import remove_stale_sockets

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="hr"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


async def test_a_run_is_steered_over_its_socket(out: Path, runtime: Path) -> None:
    endpoint = HeldEndpoint()
    async with held_run(out, endpoint) as going:
        (path,) = (runtime / "headrace").iterdir()
        assert control_address(out) == str(path)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        async with connect_async(out) as client, connect_async(out) as other:
            assert (await client.status())["in_flight"] == 2
            done = await client.send(PauseRun())
            assert done.message == "Paused: no more items are sent; 2 calls in flight will be finished."
            assert (await other.status())["state"] == "paused"
            assert (await other.send(PauseRun())).message == "The run is paused already."
            await client.send(ResumeRun())
            done = await client.send(SetLimit(name="max-in-flight", value="4"))
            assert done.change is not None
            assert (done.change.old, done.change.new) == (2, 4)
            limits = (await other.status())["limits"]
            assert (limits["max-in-flight"], limits["budget"], limits["requests-per-minute"]) == (
                *(4, None, None),
            )
            with pytest.raises(ControlRefused, match="must be a number above 0"):
                await client.send(SetLimit(name="requests-per-minute", value="fast"))
            endpoint.release()
            await going.wait()
            await until(lambda: not path.exists())
            with pytest.raises(NoRunError, match="no run is alive"):
                await client.status()
    assert not path.exists()


async def test_the_blocking_client_does_the_same(out: Path) -> None:
    endpoint = HeldEndpoint()

    def steer() -> Any:
        with connect(out) as client:
            client.send(StopRun())
            return client.status()

    async with held_run(out, endpoint) as going:
        status = await anyio.to_thread.run_sync(steer)
        assert status["state"] == "stopping"
        endpoint.release()
        assert (await going.wait()).stopped_by == "interrupt"
    with pytest.raises(NoRunError, match="no run is alive; begin it again with the same command"):
        connect(out)


async def test_a_run_with_given_policies_is_steered(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    endpoint = HeldEndpoint()
    async with (
        endpoint.client(policies=[]) as client,
        headrace.run(client, [{"id": "1"}], out=out.name, prompt="{id}") as going,
    ):
        await until(lambda: going.snapshot().in_flight == 1)
        async with connect_async(out) as control:
            assert (await control.status())["out"] == str(out)
            await control.send(PauseRun())
        assert going.snapshot().state == "paused"


async def test_a_socket_that_no_one_serves_is_no_run(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoRunError, match="is not the output of a run"):
        connect(tmp_path / "other.jsonl")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [])  # no plugin is installed
    async with HeldEndpoint().client() as client:
        await headrace.run(client, [], out=out, prompt="{name}")
    with pytest.raises(NoRunError, match="takes control messages"):
        connect(out)


def raw_client(out: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(control_address(out))  # type: ignore[arg-type]
    return client


async def test_clients_that_misbehave_do_not_disturb_the_run(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SEND_TIMEOUT", 0.05)
    monkeypatch.setattr(server_module, "LONGEST_LINE", 1000)
    endpoint = HeldEndpoint()

    def misbehave() -> list[dict[str, Any]]:
        replies = []
        for sent in (b"\0\xff rubbish\n", b"x" * 5000):
            with raw_client(out) as client:
                client.sendall(sent)
                replies.append(json.loads(client.makefile("rb").readline()))
        with raw_client(out) as dying:
            dying.sendall(b'{"type": "sto')  # and it is killed
        hanging = raw_client(out)
        hanging.settimeout(1)
        try:
            while True:  # it reads no replies, until it is left
                hanging.sendall(b'{"type": "status", "version": 1}\n' * 100)
        except OSError:
            hanging.close()
        return replies

    async with held_run(out, endpoint) as going:
        rubbish, long = await anyio.to_thread.run_sync(misbehave)
        assert "not a control message" in rubbish["message"]
        assert "at most 1,000 bytes" in long["message"]
        async with connect_async(out) as client:
            assert (await client.status())["state"] == "running"
        endpoint.release()
        assert (await going.wait()).succeeded == 5


async def test_more_clients_than_allowed_are_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_MOST_CLIENTS", 1)
    async with held_run(out, HeldEndpoint()), connect_async(out) as client:
        await client.status()
        async with connect_async(out) as other:
            with pytest.raises(ControlRefused, match="too many clients"):
                await other.status()
        await client.status()


async def test_the_socket_of_a_killed_run_is_replaced(out: Path) -> None:
    path = socket_path(out)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with held_run(out, HeldEndpoint()), connect_async(out) as client:
        assert (await client.status())["state"] == "running"


def test_stale_sockets_of_other_runs_are_removed_and_live_ones_are_not(runtime: Path) -> None:
    names = {"stale.sock": 100, "young.sock": 0, "live.sock": 100}
    live = socket.socket(socket.AF_UNIX)
    for name, age in names.items():
        listener = live if name == "live.sock" else socket.socket(socket.AF_UNIX)
        listener.bind(str(runtime / name))
        if listener is live:
            listener.listen()
        else:
            listener.close()
        then = (runtime / name).stat().st_mtime - age
        os.utime(runtime / name, (then, then))
    remove_stale_sockets(runtime)
    live.close()
    assert sorted(path.name for path in runtime.iterdir()) == ["live.sock", "young.sock"]


def test_a_folder_that_is_not_private_or_too_long_is_not_used(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    other = runtime / "tmp"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    assert socket_path(out).parent == runtime / "headrace"
    (runtime / "headrace").chmod(0o755)
    assert socket_path(out).parent == other / f"headrace-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / ("x" * 100)))
    assert socket_path(out).parent == other / f"headrace-{os.getuid()}"
    (runtime / "headrace").rmdir()
    (runtime / "headrace").symlink_to(other)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert socket_path(out).parent == other / f"headrace-{os.getuid()}"


async def test_a_run_goes_on_without_a_socket(
    out: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(out: str) -> Path:
        raise PermissionError("no folder")

    monkeypatch.setattr(server_module, "socket_path", fail)
    endpoint = HeldEndpoint()
    async with held_run(out, endpoint) as going:
        endpoint.release()
        assert (await going.wait()).succeeded == 5
    (warning,) = [record for record in caplog.records if record.name == "headrace"]
    assert "'view' (headrace-view" in warning.getMessage()
    assert warning.getMessage().endswith("does not accompany this run: PermissionError: no folder")


async def test_the_socket_is_removed_when_a_run_is_cancelled(out: Path, runtime: Path) -> None:
    async with held_run(out, HeldEndpoint()):
        await until(lambda: list((runtime / "headrace").iterdir()))
    assert not list((runtime / "headrace").iterdir())
