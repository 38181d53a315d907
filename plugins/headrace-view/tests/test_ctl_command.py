"""`headrace ctl`, over a run of this process."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from control_runs import HeldEndpoint, held_run, until
from headrace.bulk import Done, control_address
from headrace.bulk.control.bulk_run_control import BulkRunControl
from headrace.cli.main import cli
from headrace_view.control.replies import no_run

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="hr")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield
    shutil.rmtree(folder)


async def ctl(out: Path, *arguments: str) -> Result:
    return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(cli, ["ctl", str(out), *arguments]))


async def test_a_run_is_steered_by_commands(tmp_path: Path) -> None:
    out, endpoint = tmp_path / "out.jsonl", HeldEndpoint()
    async with held_run(out, endpoint) as going:
        status = await ctl(out, "status")
        assert status.exit_code == 0
        lines = status.output.splitlines()
        assert lines[0] == f"{out}: running"
        assert "  Items      0 of 5 done, 5 left" in lines
        assert "  In flight  2 of 2" in lines
        assert "  Limits     max-in-flight=2 budget=none" in status.output
        changed = await ctl(out, "set", "max-in-flight=3", "budget=10", "requests-per-minute=6000")
        assert changed.output == (
            "max-in-flight: 2 → 3.\nbudget: none → 10.\nrequests-per-minute: none → 6000.\n"
        )
        assert (await ctl(out, "set", "budget=none")).output == "budget: 10 → none.\n"
        assert (await ctl(out, "pause")).exit_code == 0
        snapshot = json.loads((await ctl(out, "status", "--json")).output)
        assert (snapshot["state"], snapshot["limits"]["max-in-flight"]) == ("paused", 3)
        paused = (await ctl(out, "status")).output
        assert paused.splitlines()[0] == f"{out}: paused"
        assert re.search(r"  \d\d:\d\d:\d\d   budget: 10 → none\n", paused)
        assert (await ctl(out, "resume")).output == "Resumed: items are sent again.\n"
        cancelled = await ctl(out, "cancel", "r4", "nothing")
        assert cancelled.exit_code == 1
        assert cancelled.output == "Fail when their turn comes: r4. Not in the input: nothing.\n"
        assert (await ctl(out, "retry-failed")).output == "No item has failed.\n"
        endpoint.release()
        result = await going.wait()
        assert (result.succeeded, result.failed) == (4, 1)


async def test_a_run_is_stopped_by_a_command(tmp_path: Path) -> None:
    out, endpoint = tmp_path / "out.jsonl", HeldEndpoint()
    async with held_run(out, endpoint) as going:
        assert "calls in flight are being finished" in (await ctl(out, "stop")).output
        await until(lambda: going.snapshot().state == "stopping")
        endpoint.release()
        assert (await going.wait()).left == 3


async def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    none = await ctl(out, "status")
    assert (none.exit_code, none.stdout) == (1, "")
    assert none.stderr == (
        f"headrace: no run is alive: {out}: is not the output of a run; out.jsonl.journal is missing\n"
    )
    async with held_run(out, HeldEndpoint()):
        unknown = await ctl(out, "set", "max-in-flite=3")
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert unknown.stderr == ("headrace: 'max-in-flite': no such limit; did you mean 'max-in-flight'?\n")
        for arguments in (["cancel", "r\udcff"], ["set", "budget=\udcff"], ["set", "b\udcff=1"]):
            bytes_that_are_no_text = await ctl(out, *arguments)
            assert (bytes_that_are_no_text.exit_code, bytes_that_are_no_text.stdout) == (1, "")
            assert re.fullmatch(
                r"headrace: '.*\\udcff': is not text in UTF-8\n", bytes_that_are_no_text.stderr
            )
        huge = await ctl(out, "set", "budget=1e999999999")
        assert huge.exit_code == 1
        assert huge.stderr == ("headrace: budget='1e999999999': must be an amount in USD, like 5.00\n")
        assert (await ctl(out, "cancel", "")).stderr == "headrace: Not in the input: ''.\n"
        wrong = await ctl(out, "set", "max-in-flight")
        assert wrong.exit_code == 2
        assert "must be NAME=VALUE" in wrong.stderr


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists the locks")
async def test_a_run_whose_socket_was_removed_is_not_said_to_be_over(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    async with held_run(out, HeldEndpoint()):
        address = control_address(out)
        assert address is not None
        os.unlink(address)
        gone = await ctl(out, "status")
        assert gone.exit_code == 1
        assert gone.stderr == (
            f"headrace: {out}: its run takes no messages any more: it is ending, or its socket was removed; "
            "Ctrl-C in its terminal stops it\n"
        )
    ended = await ctl(out, "status")
    assert ended.stderr == f"headrace: {out}: no run is alive; begin it again with the same command\n"


async def test_a_run_of_another_user_is_said_to_be_one(tmp_path: Path) -> None:
    error = no_run(tmp_path / "out.jsonl", PermissionError(13, "Permission denied"))
    assert str(error).endswith("out.jsonl: its run belongs to another user; only that one can steer it")


async def test_a_sidecar_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.touch()
    (tmp_path / "out.jsonl.journal").mkdir()
    unreadable = await ctl(out, "status")
    assert unreadable.stderr == (
        f"headrace: no run is alive: {out}: out.jsonl.journal cannot be read: Is a directory\n"
    )


async def test_the_name_of_an_output_need_not_be_text(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff\x1b[31m.jsonl")
    async with held_run(out, HeldEndpoint()):
        status = await ctl(out, "status")
        assert (status.exit_code, status.output.splitlines()[0]) == (
            0,
            f"{tmp_path}/\ufffd\\x1b[31m.jsonl: running",
        )


async def test_what_a_run_says_is_safe_for_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(BulkRunControl, "pause", lambda _: Done(message="\x1b[31m\u202e" + "x" * 10**6))
    async with held_run(out, HeldEndpoint()):
        said = (await ctl(out, "pause")).output
    assert said.startswith("\\x1b[31m\\u202exxx")
    assert len(said) < 11_000
