"""The cache's file: shared, left by a killed process, damaged, foreign, and on a full disk."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import headrace
from headrace.testing import FakeEndpoint
from headrace_cache import Cache

PROGRAM = """
import sys, anyio, headrace
from headrace.testing import FakeEndpoint
from headrace_cache import Cache

path, begin, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
endpoint = FakeEndpoint(otherwise="x" * 2000)

async def main():
    async with endpoint.client([Cache(path=path)]) as client:
        print("open", flush=True)
        async with client.map(f"{number}" for number in range(begin, end)) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()
    print(len(endpoint.attempts), flush=True)

anyio.run(main, backend=sys.argv[4])
"""


def start_process(path: Path, begin: int, end: int, backend: str = "asyncio") -> subprocess.Popen[str]:
    """Start a process that asks numbered questions of its own endpoint, and prints how many it sent."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path), str(begin), str(end), backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_requests(process: subprocess.Popen[str]) -> int:
    """Wait for a process; return how many requests it sent."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return int(out.splitlines()[-1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def count_entries(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute("SELECT count(*) FROM replies").fetchone()[0]
        return number


def count_intact_entries(path: Path) -> int:
    """The number of entries in a file, which must be intact."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return count_entries(path)


def overwrite(path: Path) -> None:
    """Overwrite all but the first pages."""
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))


def open_and_close(path: Path) -> list[Path]:
    """Open and close a client with this file; return the files that exist while it is open."""
    folder = path.expanduser().parent

    async def main() -> list[Path]:
        async with FakeEndpoint().client([Cache(path=str(path))]):
            return sorted(folder.iterdir())

    return anyio.run(main)


def test_processes_share_a_file_that_they_create_together(path: Path) -> None:
    processes = [
        start_process(path, number * 300, number * 300 + 400, backend)
        for number, backend in enumerate(["asyncio", "trio", "asyncio", "trio"])
    ]
    assert sum(wait_for_requests(process) for process in processes) <= 1600
    assert count_intact_entries(path) == 1300
    assert wait_for_requests(start_process(path, 0, 1300)) == 0, "a later process has all of them"


def test_entries_of_a_killed_process_are_used(path: Path) -> None:
    for _ in range(3):
        with start_process(path, 0, 1_000_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            before = count_entries(path)
            while count_entries(path) < before + 50:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
    kept = count_intact_entries(path)
    assert kept > 0
    assert wait_for_requests(start_process(path, 0, kept + 100)) < kept + 100
    assert count_intact_entries(path) >= kept + 100


def test_only_the_owner_can_read_the_files(path: Path) -> None:
    modes = []

    async def main() -> list[Path]:
        async with FakeEndpoint().client([Cache(path=str(path))]):
            files = sorted(path.parent.iterdir())
            modes.extend([stat.S_IMODE(file.stat().st_mode) for file in files])
            return files

    files = anyio.run(main)
    assert [file.name for file in files] == ["answers.sqlite", "answers.sqlite-shm", "answers.sqlite-wal"]
    assert set(modes) == {0o600}
    assert list(path.parent.iterdir()) == [path], "the last one to close it merges the log into it"


def test_path_may_start_with_a_tilde(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    open_and_close(Path("~") / "answers-2.sqlite")
    assert path.with_name("answers-2.sqlite").is_file()


def test_file_of_another_program_is_refused_and_unchanged(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (a)")
    before = path.read_bytes()
    with pytest.raises(
        headrace.SettingsError, match=r"answers.sqlite' is another program's database; choose"
    ):
        open_and_close(path)
    assert path.read_bytes() == before
    path.write_text("A letter to my aunt, of more than a hundred bytes. " * 20)
    with pytest.raises(
        headrace.SettingsError, match=r"cannot be used \(file is not a database\); choose another"
    ):
        open_and_close(path)
    assert path.read_text().startswith("A letter to my aunt")


def test_file_of_another_version_is_refused(path: Path) -> None:
    open_and_close(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(
        headrace.SettingsError, match=r"by another version of headrace-cache \(format 2, expected 1\)"
    ):
        open_and_close(path)


@pytest.mark.parametrize("place", ["missing/answers.sqlite", "."])
def test_invalid_path_is_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(headrace.SettingsError, match="cache: path="):
        open_and_close(tmp_path / place)


def test_truncated_file_is_refused(path: Path) -> None:
    assert wait_for_requests(start_process(path, 0, 500)) == 500
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(headrace.SettingsError, match=r"cannot be used \(database disk image is malformed\)"):
        open_and_close(path)


@pytest.mark.anyio
async def test_later_damage_fails_no_call(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert wait_for_requests(start_process(path, 0, 500)) == 500
    endpoint = FakeEndpoint()
    client = endpoint.client([Cache(path=str(path))])
    async with client:
        overwrite(path)
        async with client.map(f"{number}" for number in range(500)) as outcomes:
            assert [outcome.error async for outcome in outcomes if not outcome.ok] == []
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "headrace.cache"]
    assert warning.startswith("the cache is disabled: ")
    assert endpoint.attempts


def test_full_disk_fails_no_call(path: Path) -> None:
    # The process may write only small files: as on a full disk, writes fail and reads do not.
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "import logging; logging.basicConfig(format='%(message)s')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + PROGRAM, str(path), "0", "500", "asyncio"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "open\n500\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("the cache is disabled: ")
    kept = count_intact_entries(path)
    assert wait_for_requests(start_process(path, 0, 500)) == 500 - kept
