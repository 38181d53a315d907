"""The journal: resume, repair, lock, fingerprint."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Item
from headrace.bulk.journal import Journal
from headrace.bulk.line_file import LineFile
from headrace.errors import JournalError

PRINT = {"input": "abc", "prompt": "{x}", "model": "m", "choices": []}


def line(index: int, *, failed: bool = False) -> bytes:
    error = {"code": "x", "message": "y"} if failed else None
    return json.dumps({"id": f"headrace-{index}", "custom_id": f"q{index}", "error": error}).encode() + b"\n"


def item(index: int) -> Item:
    return Item(index, index + 1, f"q{index}", {})


def journal(tmp_path: Path, **changed: Any) -> Journal:
    return Journal(tmp_path / "out.jsonl", PRINT | changed)


def test_appended_items_are_done_after_reopening(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        first.append([4, 0], line(4) + line(0))
        first.append([9], line(9, failed=True))
        assert first.done == 3
    with journal(tmp_path) as second:
        assert [index for index in range(20) if second.is_done(item(index))] == [0, 4, 9]
        assert (second.done, second.failed) == (3, 1)


@pytest.mark.parametrize(
    "tail",
    [b'{"id": "headr', b"\0" * 4096, b'{"id": "headrace-3", "custom_id": "q3"}', b"{}\n", b"\n", b"\xff"],
)
def test_half_a_line_at_the_end_is_removed_and_its_item_is_not_done(tmp_path: Path, tail: bytes) -> None:
    out = tmp_path / "out.jsonl"
    with journal(tmp_path) as first:
        first.append([1, 2], line(1) + line(2))
    with out.open("ab") as file:
        file.write(tail)
    with journal(tmp_path) as second:
        assert second.done == 2
        second.append([3], line(3))
    assert out.read_bytes() == line(1) + line(2) + line(3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), data=st.data())
def test_after_a_cut_anywhere_every_whole_line_is_kept(tmp_path: Path, cut: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(6)))
    whole = b"".join(line(index) for index in order)
    cut = min(cut, len(whole))
    folder = tmp_path / f"{cut}-{'-'.join(map(str, order))}"
    folder.mkdir(exist_ok=True)
    with journal(folder):
        pass
    (folder / "out.jsonl").write_bytes(whole[:cut])
    with journal(folder) as again:
        kept = whole[:cut].count(b"\n")
        assert [again.is_done(item(index)) for index in order] == [True] * kept + [False] * (6 - kept)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"rubbish\n", r"out\.jsonl:2: damaged"),
        (b"\n", r"out\.jsonl:2: damaged"),
        (line(1), r"out\.jsonl:2: a second line for 'q1'"),
        (
            b'{"id": "batch_1", "custom_id": "q"}\n',
            r"out\.jsonl:2: not a line of headrace run: its id is 'batch_1'",
        ),
    ],
)
def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path: Path, bad: bytes, message: str) -> None:
    with journal(tmp_path) as first:
        first.append([1], line(1))
    out = tmp_path / "out.jsonl"
    out.write_bytes(line(1) + bad + line(3))
    with pytest.raises(JournalError, match=message), journal(tmp_path):
        pass
    assert out.read_bytes() == line(1) + bad + line(3), "damage is not touched"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": "other"}, "the input changed"),
        ({"id_column": "sku"}, "the id column changed"),
        ({"prompt": "{y}"}, r"the prompt changed .*was '\{x\}', is '\{y\}'"),
        ({"model": "n"}, "the model changed"),
        ({"choices": ["a"]}, "the choices changed"),
    ],
)
def test_the_journal_of_another_run_says_what_changed(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with journal(tmp_path):
        pass
    with pytest.raises(JournalError, match=message), journal(tmp_path, **changed):
        pass


def test_a_foreign_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("dear diary\n")
    for _ in range(2):
        with pytest.raises(JournalError, match="exists, but"), journal(tmp_path):
            pass
    assert (tmp_path / "out.jsonl").read_text() == "dear diary\n"


def test_a_crash_while_the_journal_was_created_does_not_block_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.journal").write_text('{"headr')
    with journal(tmp_path) as begun:
        begun.append([0], line(0))
    with journal(tmp_path) as again:
        assert again.done == 1


def test_two_processes_cannot_use_one_journal(tmp_path: Path) -> None:
    program = (
        "import sys; from headrace.bulk.journal import Journal\n"
        f"with Journal({str(tmp_path / 'out.jsonl')!r}, {PRINT!r}):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(JournalError, match="another run is writing"), journal(tmp_path):
            pass
        other.communicate()
    with journal(tmp_path) as resumed:
        assert resumed.done == 0


def test_removing_failed_lines_keeps_the_bytes_of_the_others(tmp_path: Path) -> None:
    with journal(tmp_path) as run:
        run.append([0, 1, 2], line(0) + line(1, failed=True) + line(2))
    with journal(tmp_path) as run:
        assert len(run.remove(run.has_failed)) == 1
        assert (run.done, run.failed, run.is_done(item(1))) == (2, 0, False)
        assert run.was_removed(item(1))
        run.append([1], line(1))
    assert (tmp_path / "out.jsonl").read_bytes() == line(0) + line(2) + line(1)
    assert not (tmp_path / "out.jsonl.new").exists()


@pytest.mark.anyio
async def test_lines_that_come_while_others_are_removed_have_their_turn_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.bulk.line_removal._PORTION", 1)
    monkeypatch.setattr("headrace.bulk.done_index.FEWEST_LINES", 5)
    monkeypatch.setattr("headrace.bulk.done_index._LINES_PER_BLOCK", 4)
    with journal(tmp_path) as run:
        run.append(list(range(20)), b"".join(line(index, failed=index % 2 == 1) for index in range(20)))
    removed: list[str] = []
    with journal(tmp_path) as run:
        written = 20

        async def remove() -> None:
            removed.extend(await run.remove_beside_calls(run.has_failed))

        async with anyio.create_task_group() as group:
            group.start_soon(remove)
            while not removed:
                await anyio.lowlevel.checkpoint()
                if not removed and written < 200:
                    run.append([written], line(written, failed=written % 2 == 1))
                    written += 1
        assert written > 25
        assert removed == [f"q{index}" for index in range(1, written, 2)]
        assert all(run.was_removed(item(index)) for index in range(1, written, 2))
        left = list(range(0, written, 2))
        assert (run.done, run.failed) == (len(left), 0)
        run.append([1], line(1))
        await run.sync()
    assert await anyio.Path(tmp_path / "out.jsonl").read_bytes() == b"".join(map(line, [*left, 1]))
    with journal(tmp_path) as run:
        assert (run.done, run.failed) == (len(left) + 1, 0)
        assert all(run.is_done(item(index)) for index in [*left, 1])
    assert sorted(os.listdir(tmp_path)) == [
        "out.jsonl",
        "out.jsonl.index",
        "out.jsonl.journal",
    ]


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    with journal(tmp_path) as run:
        run.append([0], line(0, failed=True))
    with journal(tmp_path) as run:
        run.remove(run.has_failed)
    for name in ("out.jsonl", "out.jsonl.journal"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_an_unwritable_output_is_an_error_at_once(tmp_path: Path) -> None:
    for out in (tmp_path / "no" / "such" / "out.jsonl", tmp_path):
        with pytest.raises(JournalError, match=r"No such file|directory"), Journal(out, PRINT):
            pass


LIMITED = """
import resource, signal, sys
from headrace.bulk.journal import Journal
from headrace.errors import JournalError
out, size, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def limit(size):  # as a disk that becomes full: it takes a part, and then nothing
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
if what == "begin":
    limit(size)
with Journal(out, {"input": "abc", "prompt": "x" * 300}) as journal:
    limit(size)
    try:
        if what == "forget":
            journal.remove(journal.has_failed)
        for index in range(journal.done, 20):
            line = '{"id":"headrace-%d","custom_id":"q%d","error":null}\\n' % (index, index)
            journal.append([index], line.encode())
    except JournalError as error:
        assert what != "forget" or (journal.done, journal.failed) == (2, 1)
        print(journal.done, error)
"""


def limited(out: Path, size: int, what: str = "append") -> subprocess.CompletedProcess[str]:
    """The output of a journal whose files may grow to ``size`` bytes."""
    command = [sys.executable, "-c", LIMITED, str(out), str(size), what]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("size", [0, 5, 330])
def test_a_disk_that_is_full_before_the_run_is_an_error_at_once_and_does_not_block_the_next_run(
    tmp_path: Path, size: int
) -> None:
    """With a partial fingerprint, the answers would belong to no run."""
    out = tmp_path / "out.jsonl"
    done = limited(out, size, "begin")
    assert "out.jsonl.journal: File too large; nothing was sent" in done.stderr
    assert done.returncode != 0
    assert not out.exists()
    assert limited(out, 1 << 20).returncode == 0
    with Journal(out, {"input": "abc", "prompt": "x" * 300}) as again:
        assert again.done == 20


@pytest.mark.parametrize("size", [380, 420, 500, 777])
def test_a_disk_that_becomes_full_stops_the_run_and_the_next_run_sends_the_rest(
    tmp_path: Path, size: int
) -> None:
    out = tmp_path / "out.jsonl"
    done = limited(out, size)
    done_items = int(done.stdout.split()[0])
    assert "File too large" in done.stdout
    assert (
        f"; {done_items} items are safe there; free some space, then run the same command again"
        in done.stdout
    )
    assert out.read_bytes().count(b"\n") == done_items
    assert size - 60 < out.stat().st_size <= size
    assert out.read_bytes().endswith(b"\n"), "the torn line is cut off at once"
    assert limited(out, 1 << 20).returncode == 0
    assert [json.loads(each)["id"] for each in out.read_text().splitlines()] == [
        f"headrace-{index}" for index in range(20)
    ]


def test_nothing_is_appended_to_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may make room just after the disk was full."""
    write, room = os.write, [len(line(0)) + 5]

    def with_room(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = bytes(data)[: room[0]]
        room[0] -= len(taken)
        return write(file, taken)

    with journal(tmp_path) as run, monkeypatch.context() as patch:
        patch.setattr("os.write", with_room)
        patch.setattr("os.ftruncate", lambda file, size: None)  # this may fail too
        with pytest.raises(JournalError, match="1 items are safe") as first:
            run.append([0, 1, 2], line(0) + line(1) + line(2))
        assert run.done == 1
        room[0] = 1 << 20
        with pytest.raises(JournalError) as second:
            run.append([3], line(3))
        assert second.value is first.value
    assert (tmp_path / "out.jsonl").read_bytes() == line(0) + line(1)[:5]
    with journal(tmp_path) as again:
        assert again.done == 1


def test_removing_lines_on_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out, {"input": "abc", "prompt": "x" * 300}) as run:
        run.append([0, 1], line(0) + line(1, failed=True))
    before = out.read_bytes()
    done = limited(out, 20, "forget")
    assert done.returncode == 0, done.stderr
    assert "File too large; its items are still in it" in done.stdout
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl", "out.jsonl.journal"]


def test_no_run_starts_without_a_synced_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(JournalError, match="Input/output error; nothing was sent"), journal(tmp_path):
        pass


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="no read-only file system")
def test_a_read_only_file_system_is_an_error_at_once() -> None:
    refused = pytest.raises(JournalError, match=r"cannot be written: (Read-only|Permission|Operation not)")
    with refused, Journal("/sys/kernel/out.jsonl", PRINT):
        pass


def test_a_full_disk_says_how_many_items_are_safe() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    full = Journal("out.jsonl", PRINT)
    full._file = LineFile(Path("/dev/full"))
    try:
        with pytest.raises(JournalError, match="No space left on device; 0 items are safe there"):
            full.append([0], line(0))
        assert full.done == 0
    finally:
        full._file.close()
