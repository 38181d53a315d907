"""An output that other programs delete, move, replace or change while a run writes to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest

from headrace.bulk import run, stored_results
from headrace.bulk.journal import Journal
from headrace.errors import JournalError
from headrace.testing import Answer, FakeEndpoint

LINE = b'{"id":"headrace-0","custom_id":"a","error":null}\n'


def delete(out: Path) -> None:
    out.unlink()


def move(out: Path) -> None:
    out.rename(out.with_name("moved.jsonl"))


def move_folder(out: Path) -> None:
    out.parent.rename(out.parent.with_name("elsewhere"))


def replace(out: Path) -> None:
    new = out.with_name("new")
    new.write_bytes(LINE)
    new.rename(out)


def cut(out: Path) -> None:
    out.write_bytes(b"")


def cut_the_last_byte(out: Path) -> None:
    with out.open("r+b") as file:
        file.truncate(len(out.read_bytes()) - 1)


def append(out: Path) -> None:
    with out.open("ab") as file:
        file.write(b"dear diary\n")


DELETED = "it was deleted during the run, and its lines are lost; to begin anew, run the same command again"
MOVED = "it was moved during the run; move it back, then run the same command again"
REPLACED = "another file took its place during the run; check that file, then run the same command again"
CHANGED = "another program changed it during the run; put its content back, then run the same command again"
EVENTS = [
    (delete, DELETED),
    (move, MOVED),
    (move_folder, MOVED),
    (replace, REPLACED),
    (cut, CHANGED),
    (cut_the_last_byte, CHANGED),
    (append, CHANGED),
]


def count_lines(out: Path) -> int | None:
    return out.read_bytes().count(b"\n") if out.exists() else None


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "out.jsonl"


@pytest.mark.anyio
@pytest.mark.parametrize(("happen", "message"), EVENTS)
async def test_each_sync_notices_it_and_nothing_is_written_any_more(
    out: Path, happen: Callable[[Path], None], message: str
) -> None:
    with Journal(out, {}) as journal:
        journal.append([0], LINE)
        await journal.sync()
        happen(out)
        for _ in range(2):
            with pytest.raises(JournalError) as noticed:
                await journal.sync()
            assert str(noticed.value) == f"{out}: {message}"
        after = {each: each.read_bytes() for each in out.parent.parent.rglob("*") if each.is_file()}
        with pytest.raises(JournalError):
            journal.append([1], LINE)
        with pytest.raises(JournalError):
            journal.remove(lambda id: True)
    assert after == {each: each.read_bytes() for each in after}


@pytest.mark.anyio
async def test_what_the_run_does_itself_is_no_change(out: Path) -> None:
    failed = LINE.replace(b'"a"', b'"b"').replace(b"null", b'{"code":"x","message":"y"}')
    with Journal(out, {}) as journal:
        journal.append([0], LINE)
        await journal.sync()
    with out.open("ab") as file:
        file.write(failed + b'{"torn')
    with Journal(out, {}) as journal:
        await journal.sync()
        assert len(journal.remove(journal.has_failed)) == 1
        await journal.sync()
        journal.append([1], LINE.replace(b'"a"', b'"c"'))
        await journal.sync()
    assert count_lines(out) == 2


@pytest.mark.anyio
async def test_the_run_is_stopped_while_its_calls_are_in_flight(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_results, "_SYNC_INTERVAL", 0.01)
    rows = out.with_name("in.jsonl")
    rows.write_text("".join(json.dumps({"id": str(number), "text": "x"}) + "\n" for number in range(20)))

    def prompt(row: Mapping[str, object]) -> str:
        if row["id"] == "3" and out.exists():  # the run is under way, and this call hangs
            out.unlink()
        return "x"

    endpoint = FakeEndpoint("a", "a", "a", otherwise=Answer(delay=3600))
    with anyio.fail_after(30):
        async with endpoint.client(max_in_flight=1) as client:
            with pytest.raises(JournalError, match="was deleted during the run"):
                await run(client, rows, out=out, prompt=prompt)
    assert count_lines(out) is None
