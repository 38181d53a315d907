"""A full disk and a read-only one: the error says how many items are safe, and these are kept."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.campaign import COMMAND
from tests.crash.checks import check_complete
from tests.crash.inputs import Form, write_input
from tests.crash.serving import Served, environment

ITEMS = 300
OWN_MOUNTS = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "bash", "-c")
THREE_TIMES = """
mount -t tmpfs -o size=64k none disk
"$@"; echo "exit $?" >&2
cp disk/out.jsonl first.jsonl
mount -o remount,ro none disk
"$@"; echo "exit $?" >&2
mount -o remount,rw,size=10m none disk
"$@"; echo "exit $?" >&2
cp disk/out.jsonl .
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Served]:
    """An endpoint without faults."""
    with Served("--latency=20ms") as served:
        yield served


class RepeatedRun:
    """A command that is run more than once."""

    def __init__(self, folder: Path, endpoint: Served, out: str, processes: int = 1) -> None:
        self.form = Form("jsonl", processes)
        arguments, self.prompts = write_input(folder, self.form, ITEMS, random.Random(1))
        self.command = [*COMMAND, "run", *arguments, "--max-in-flight", "20", "--out", out]
        self._folder, self._environment = folder, environment(endpoint.url)

    def perform(self, *around: str, room: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run it, with files of at most ``room`` bytes, and inside another command (``around``)."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room or 0, resource.RLIM_INFINITY))

        return subprocess.run(
            [*around, *self.command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            preexec_fn=None if room is None else limit,
        )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_size_limit_stops_the_run_and_says_what_is_safe(
    tmp_path: Path, endpoint: Served, processes: int
) -> None:
    run, out = RepeatedRun(tmp_path, endpoint, "out.jsonl", processes), tmp_path / "out.jsonl"
    stopped = run.perform(room=40_000)
    whole = out.read_bytes()
    safe = whole.count(b"\n")
    assert (stopped.returncode, stopped.stderr) == (
        1,
        f"headrace: out.jsonl: File too large; {safe} items are safe there; "
        "free some space, then run the same command again\n",
    )
    assert whole.endswith(b"\n")
    assert 10 < safe < ITEMS
    ended = run.perform()
    assert (ended.returncode, f"before     {safe} done" in ended.stdout) == (0, True), ended.stderr
    assert out.read_bytes().startswith(whole)
    check_complete(out, run.prompts, run.form)


def test_a_full_disk_and_a_read_only_disk_lose_nothing(tmp_path: Path, endpoint: Served) -> None:
    (tmp_path / "disk").mkdir()
    if subprocess.run(
        [*OWN_MOUNTS, "mount -t tmpfs none disk"], cwd=tmp_path, capture_output=True, check=False
    ).returncode:
        pytest.skip("no file system may be mounted here")
    run = RepeatedRun(tmp_path, endpoint, "disk/out.jsonl")
    lines = run.perform(*OWN_MOUNTS, THREE_TIMES, "bash").stderr.splitlines()
    first, out = (tmp_path / "first.jsonl").read_bytes(), tmp_path / "out.jsonl"
    safe = first.count(b"\n")
    assert lines == [
        f"headrace: disk/out.jsonl: No space left on device; {safe} items are safe there; "
        "free some space, then run the same command again",
        "exit 1",
        "headrace: disk/out.jsonl: cannot be written: Read-only file system; "
        "make it writable, or name another file",
        "exit 2",
        "exit 0",
    ]
    assert 10 < safe < ITEMS
    assert out.read_bytes().startswith(first)
    check_complete(out, run.prompts, run.form)
