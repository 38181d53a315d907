"""An input that is changed while a run reads it is noticed, and no changed row is sent."""

from __future__ import annotations

import functools
import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

import headrace
from headrace.bulk import Source, run
from headrace.errors import InputError
from headrace.policies import Send, Stage
from headrace.testing import FakeEndpoint

Lines = Callable[[Path], list[dict[str, Any]]]

ROWS = 40
TEXT = "x" * 20_000


def write_csv(path: Path, text: str = TEXT) -> None:
    path.write_text("id,text\n" + "".join(f"q{n},{text}\n" for n in range(ROWS)))


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("new,text\n")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30_000)


def overwrite(path: Path) -> None:
    """Other content of the same size, at a later time."""
    state = path.stat()
    write_csv(path, "y" * len(TEXT))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def replace(path: Path) -> None:
    other = path.with_name("other")
    write_csv(other)
    other.replace(path)


CHANGES: dict[Callable[[Path], None], str] = {
    append: r"grew from [\d,]+ to [\d,]+ bytes",
    cut: r"was cut from [\d,]+ to [\d,]+ bytes",
    overwrite: "was written to",
    replace: "was replaced by another file",
}


def message(path: Path, what: str) -> str:
    return (
        rf"{re.escape(str(path))}: {what} since it was first read; finished items are kept, "
        r"run again to continue with the new content"
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_at_the_next_pass(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "in.csv"
    write_csv(path)
    source = Source(path)
    source.check_unchanged()
    change(path)
    for read in (lambda: list(source.items()), source.digest, source.check_unchanged):
        with pytest.raises(InputError) as caught:
            read()
        assert re.fullmatch(message(path, CHANGES[change]), str(caught.value))


@pytest.mark.parametrize("change", [append, cut, overwrite])
def test_no_changed_row_is_returned_within_a_pass(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "in.csv"
    write_csv(path)
    items = Source(path).items()
    read = [next(items)]
    change(path)
    with pytest.raises(InputError, match=message(path, CHANGES[change])):
        read.extend(items)
    assert [(item.id, item.row["text"]) for item in read] == [(f"q{n}", TEXT) for n in range(len(read))]


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(f"id,text\n{NOISE}".encode()))


def write_parquet(path: Path) -> None:
    table = pyarrow.table({"text": NOISE.splitlines()})
    pyarrow.parquet.write_table(table, path, row_group_size=200, use_dictionary=False)


def write_arrow(path: Path) -> None:
    pyarrow.feather.write_feather(pyarrow.table({"text": NOISE.splitlines()}), path, chunksize=200)


NOISE = "".join(f"{n},{os.urandom(500).hex()}\n" for n in range(2000))
"""Rows that do not fit into one block even if they are compressed."""


@pytest.mark.parametrize("write", [write_gzip, write_parquet, write_arrow])
def test_changes_of_other_forms_are_noticed(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "in"
    write(path)
    items = Source(path).items()
    next(items)
    append(path)
    with pytest.raises(InputError, match="grew from"):
        list(items)


def test_a_copy_of_a_stream_does_not_change(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    write_csv(path)
    with path.open() as file:
        source = Source(f"/dev/fd/{file.fileno()}")
    append(path)
    assert len(list(source.items())) == ROWS
    source.check_unchanged()


@attrs.define
class ChangeAt:
    """Changes the input when a request is sent."""

    id: str
    change: Callable[[], None]
    name: str = "change"
    stage: Stage = Stage.OBSERVE

    def wrap(self, send: Send) -> Send:
        async def changing(call: headrace.Call) -> headrace.Reply:
            if call.request.id == self.id:
                self.change()
            return await send(call)

        return changing


@pytest.mark.anyio
@pytest.mark.parametrize("at", [0, ROWS - 1])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_run_ends_at_a_change_and_keeps_what_is_done(
    tmp_path: Path,
    read_lines: Callable[[Path], list[dict[str, Any]]],
    change: Callable[[Path], None],
    at: int,
) -> None:
    path, out, table = tmp_path / "in.csv", tmp_path / "out.jsonl", tmp_path / "t.csv"
    write_csv(path)
    endpoint = FakeEndpoint()
    policy = ChangeAt(f"q{at}", functools.partial(change, path))
    async with endpoint.client([policy], max_in_flight=1) as client:
        summary = await run(client, path, prompt="{text}", out=out, table=table)
    assert isinstance(summary.stopped_by, InputError)
    assert re.fullmatch(message(path, CHANGES[change]), str(summary.stopped_by))
    ids = [line["custom_id"] for line in read_lines(out)]
    # Blocks that were read before the change are sent. A replaced file stays readable as it was.
    assert ids == [f"q{n}" for n in range(len(ids))]
    assert len(ids) == summary.succeeded == len(endpoint.attempts)
    assert (len(ids) < ROWS) == (at == 0 and change is not replace)
    prompts = [request.body["messages"][0]["content"] for request in endpoint.attempts if request.body]
    assert prompts == [TEXT] * len(ids)
    assert not table.exists()

    write_csv(path)
    async with endpoint.client() as client:
        summary = await run(client, path, prompt="{text}", out=out, table=table)
    assert (summary.done, summary.stopped_by) == (ROWS, None)
    assert table.exists()


@pytest.mark.anyio
async def test_an_input_that_is_deleted_after_it_was_read_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\nq0,a\nq1,b\n")
    async with FakeEndpoint().client([ChangeAt("q1", path.unlink)], max_in_flight=1) as client:
        summary = await run(client, path, prompt="{text}", out=tmp_path / "out.jsonl")
    assert (summary.succeeded, summary.stopped_by) == (2, None)
