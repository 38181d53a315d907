"""`kill -9` of a command beside a run does not touch the run."""

from __future__ import annotations

import os
import pty
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from control_runs import HeldEndpoint, held_run
from headrace.bulk import RunControl
from headrace_view.control import connect_async

COMMAND = [sys.executable, "-c", "from headrace_command import main; main()"]


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="hr")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setenv("TERM", "xterm")
    yield
    shutil.rmtree(folder)


@pytest.fixture
def terminal() -> Iterator[int]:
    person, program = pty.openpty()
    yield program
    os.close(program)
    os.close(person)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the processes are the same, and each takes a second
@pytest.mark.parametrize("arguments", [("ctl", "{}", "status"), ("top", "{}")], ids=["ctl", "top"])
async def test_a_command_is_killed_while_the_run_replies_to_it(
    tmp_path: Path, terminal: int, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    out, endpoint, reply_to = tmp_path / "out.jsonl", HeldEndpoint(), RunControl.reply_to
    command = [*COMMAND, *(part.format(out) for part in arguments)]

    async def kill_and_reply(control: RunControl, line: bytes) -> bytes:
        if process.returncode is None:
            process.kill()
            await process.wait()
        return await reply_to(control, line)

    monkeypatch.setattr(RunControl, "reply_to", kill_and_reply)
    async with held_run(out, endpoint) as going:
        async with await anyio.open_process(
            command, stdin=terminal, stdout=terminal, stderr=terminal
        ) as process:
            await process.wait()
        assert process.returncode == -9
        assert going.snapshot().in_flight == 2
        async with connect_async(out) as other:
            assert (await other.status())["state"] == "running"
        endpoint.release()
        assert (await going.wait()).succeeded == 5
