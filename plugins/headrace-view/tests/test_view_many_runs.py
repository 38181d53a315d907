"""A folder with many runs: few indexes are open at once, and nothing is read again that has not changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headrace_view import runs as runs_module
from headrace_view.index import (
    IndexBuilder,
    IndexPlace,
    RowQuery,
    Totals,
    find_rows,
    open_for_reading,
)
from headrace_view.runs import Runs
from headrace_view.web import Guard, loopback_hosts, make_app
from view_lines import encode, make_line, write_output
from view_requests import get

NUMBER, OPEN = 40, 5
FILES = 4
"""Descriptors of an open index: its database, two files beside it, and its lock."""

SLACK = 4
"""Descriptors of the test's own event loop and threads."""


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def index_all(runs: Runs) -> int:
    """Index what there is; returns the most files that were open meanwhile."""
    most = 0
    while runs.step():
        most = max(most, open_files())
    return most


@pytest.mark.anyio
async def test_many_runs_have_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "_MOST_OPEN", OPEN)
    for n in range(NUMBER):
        write_output(tmp_path / f"{n:02}.jsonl", [make_line(n), make_line(n + 1)])
    before = open_files()
    runs = Runs([tmp_path])
    assert len(runs.ask_for_all()) == NUMBER
    assert index_all(runs) <= before + FILES * (OPEN + 1) + SLACK
    assert Totals.of_all(run.builder.totals for run in runs.all).rows == 2 * NUMBER
    app = Guard(make_app(runs), "t", loopback_hosts("127.0.0.1"))
    for run in runs.all:
        rows = await get(app, f"runs/{run.number}/rows")
        assert len(rows["rows"]) == 2, run.name
        assert not runs.step()
        assert run.is_open
        assert open_files() <= before + FILES * (OPEN + 1) + SLACK
    closed = next(run for run in runs.all if not run.is_open)
    with closed.journal.open("ab") as file:
        file.write(encode([make_line(90)]))
    index_all(runs)
    assert closed.builder.totals.rows == 3
    runs.close()
    assert open_files() <= before + SLACK
    again = Runs([tmp_path])
    again.ask_for_all()
    index_all(again)
    assert Totals.of_all(run.builder.totals for run in again.all).rows == 2 * NUMBER + 1
    again.close()


def test_an_output_that_has_not_changed_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_output(tmp_path / "a.jsonl", [make_line(1)])
    write_output(tmp_path / "b.jsonl", [make_line(1)])
    runs = Runs([tmp_path])
    runs.ask_for_all()
    index_all(runs)
    read: list[str] = []
    step = IndexBuilder.step

    def note(builder: IndexBuilder) -> bool:
        read.append(builder.place.folder.name)
        return step(builder)

    monkeypatch.setattr(IndexBuilder, "step", note)
    assert not runs.step()
    assert read == []
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert not runs.step()
    assert read == [".b.jsonl.view"]
    assert [run.is_torn for run in sorted(runs.all, key=lambda run: run.name)] == [False, True]
    (tmp_path / "b.jsonl").unlink()
    assert not runs.step()
    assert not runs.step()  # it may come back
    assert read == [".b.jsonl.view"] * 3
    runs.close()


def test_an_index_that_another_process_has_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_output(tmp_path / "a.jsonl", [make_line(1)])
    runs, other = Runs([tmp_path]), Runs([tmp_path])
    (run,) = runs.ask_for_all()
    index_all(runs)
    run.close()
    assert other.get(0)
    version = run.builder.version
    assert runs.get(0) is run
    index_all(runs)
    assert run.place.folder.is_relative_to(tmp_path / "cache")
    assert run.builder.totals.rows == 1
    assert run.builder.version > version
    runs.close()
    other.close()


@pytest.mark.parametrize("closed", [False, True])
def test_an_index_that_was_deleted_is_made_again(tmp_path: Path, closed: bool) -> None:
    write_output(tmp_path / "a.jsonl", [make_line(1)])
    runs = Runs([tmp_path])
    (run,) = runs.ask_for_all()
    index_all(runs)
    version = run.builder.version
    if closed:
        run.close()
    shutil.rmtree(run.place.folder)
    assert runs.get(0) is run
    index_all(runs)
    assert run.builder.version > version
    with open_for_reading(run.place.database) as connection:
        assert len(find_rows(connection, RowQuery())) == run.builder.totals.rows == 1
    other = IndexPlace(run.journal)
    assert other.folder != run.place.folder  # the new folder is locked, too
    other.close()
    runs.close()
