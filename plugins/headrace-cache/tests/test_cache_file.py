"""The cache's file: of several processes, of processes that die, damaged, of others, and on a full disk."""

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

ASKING = """
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


def asking(path: Path, begin: int, end: int, backend: str = "asyncio") -> subprocess.Popen[str]:
    """A process that asks questions by number, of an endpoint of its own; prints how many it had to send."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ASKING, str(path), str(begin), str(end), backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sent(process: subprocess.Popen[str]) -> int:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return int(out.splitlines()[-1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def number_kept(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute("SELECT count(*) FROM replies").fetchone()[0]
        return number


def check(path: Path) -> int:
    """How many replies are in a file, which must be sound."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return number_kept(path)


def scribble_over(path: Path) -> None:
    """Write over all but the first pages."""
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))


def opened(path: Path) -> list[Path]:
    """Open a client with this file and close it; the files that are there meanwhile."""

    folder = path.expanduser().parent

    async def main() -> list[Path]:
        async with FakeEndpoint().client([Cache(path=str(path))]):
            return sorted(folder.iterdir())

    return anyio.run(main)


def test_processes_share_a_file_that_they_make_at_once(path: Path) -> None:
    processes = [
        asking(path, number * 300, number * 300 + 400, backend)
        for number, backend in enumerate(["asyncio", "trio", "asyncio", "trio"])
    ]
    assert sum(sent(process) for process in processes) <= 1600
    assert check(path) == 1300
    assert sent(asking(path, 0, 1300)) == 0, "a process of later has them all"


def test_what_is_left_by_a_process_that_was_killed_is_used(path: Path) -> None:
    for _ in range(3):
        with asking(path, 0, 1_000_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            before = number_kept(path)
            while number_kept(path) < before + 50:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
    kept = check(path)
    assert kept > 0
    assert sent(asking(path, 0, kept + 100)) < kept + 100
    assert check(path) >= kept + 100


def test_the_file_and_its_log_are_for_their_owner_alone(path: Path) -> None:
    modes = []

    async def main() -> list[Path]:
        async with FakeEndpoint().client([Cache(path=str(path))]):
            files = sorted(path.parent.iterdir())
            modes.extend([stat.S_IMODE(file.stat().st_mode) for file in files])
            return files

    files = anyio.run(main)
    assert [file.name for file in files] == ["answers.sqlite", "answers.sqlite-shm", "answers.sqlite-wal"]
    assert set(modes) == {0o600}
    assert list(path.parent.iterdir()) == [path], "the last one to close it folds the log into it"


def test_a_path_may_begin_at_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    opened(Path("~") / "mine.sqlite")
    assert path.with_name("mine.sqlite").is_file()


def test_a_file_that_is_another_programs_is_refused_and_left_as_it_is(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(headrace.SettingsError, match=r"answers.sqlite' is another program's database; name"):
        opened(path)
    assert path.read_bytes() == before
    path.write_text("A letter to my aunt, of more than a hundred bytes. " * 20)
    with pytest.raises(
        headrace.SettingsError, match=r"cannot be used \(file is not a database\); name another"
    ):
        opened(path)
    assert path.read_text().startswith("A letter to my aunt")


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    opened(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(
        headrace.SettingsError, match=r"of another headrace-cache \(its version is 2, here it is 1\)"
    ):
        opened(path)


@pytest.mark.parametrize("place", ["missing/answers.sqlite", "."])
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(headrace.SettingsError, match="cache: path="):
        opened(tmp_path / place)


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    assert sent(asking(path, 0, 500)) == 500
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(headrace.SettingsError, match=r"cannot be used \(database disk image is malformed\)"):
        opened(path)


@pytest.mark.anyio
async def test_damage_that_shows_later_fails_no_call(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert sent(asking(path, 0, 500)) == 500
    endpoint = FakeEndpoint()
    client = endpoint.client([Cache(path=str(path))])
    async with client:
        scribble_over(path)
        async with client.map(f"{number}" for number in range(500)) as outcomes:
            assert [outcome.error async for outcome in outcomes if not outcome.ok] == []
    (said,) = [record.getMessage() for record in caplog.records if record.name == "headrace.cache"]
    assert said.startswith("the cache is not used any more: ")
    assert endpoint.attempts


def test_a_full_disk_fails_no_call(path: Path) -> None:
    # The largest file that the process may write: as on a full disk, writing fails, and reading does not.
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "import logging; logging.basicConfig(format='%(message)s')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + ASKING, str(path), "0", "500", "asyncio"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "open\n500\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("the cache is not used any more: ")
    kept = check(path)
    assert sent(asking(path, 0, 500)) == 500 - kept
