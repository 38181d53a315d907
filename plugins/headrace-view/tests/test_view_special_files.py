"""A file that was replaced by a pipe holds no thread: what reads it has an error, and goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import InputError
from headrace.bulk import OutputLine
from headrace_view.control import NoRunError, connect
from headrace_view.index import IndexBuilder, IndexPlace, line_of, open_for_reading
from headrace_view.runs import check_output
from headrace_view.sidecar import find_inputs, read_fingerprints
from view_lines import index_whole, make_line, write_output


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


REPLACED = pytest.mark.parametrize("replace", [pipe, folder, device])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    Path(tmp_path / "out.jsonl.journal").write_bytes(b'{"headrace": 2, "model": "m"}\n')
    return write_output(tmp_path / "out.jsonl", [make_line(number) for number in range(5)])


@REPLACED
def test_an_output_that_is_replaced_is_an_error_until_it_is_a_file_again(
    output: Path, replace: Callable[[Path], None]
) -> None:
    builder, place = index_whole(output)
    shutil.copy(output, kept := output.with_name("kept"))
    replace(output)
    assert not builder.step()
    assert "the output cannot be read" in builder.error
    with open_for_reading(place.database) as connection:
        assert line_of(connection, output, 1) is None
    with pytest.raises(InputError, match="name the --out of a headrace run"):
        check_output(output)
    replaced = output.rename(output.with_name("replaced"))
    assert replaced.exists()
    shutil.copy(kept, output)
    while builder.step():
        pass
    assert not builder.error
    with open_for_reading(place.database) as connection:
        assert isinstance(line_of(connection, output, 1), OutputLine)
    builder.close()
    place.close()


@REPLACED
def test_a_sidecar_that_is_replaced_says_nothing(output: Path, replace: Callable[[Path], None]) -> None:
    assert read_fingerprints(output)
    replace(output.with_name("out.jsonl.journal"))
    assert read_fingerprints(output) == []
    with pytest.raises(NoRunError, match="no run is alive"):
        connect(output)


@REPLACED
def test_a_lock_that_is_replaced_is_not_used(output: Path, replace: Callable[[Path], None]) -> None:
    with IndexPlace(output) as before:
        lock = before.folder / "lock"
    replace(lock)
    with IndexPlace(output) as place:
        assert place.folder != before.folder
        builder = IndexBuilder(output, place)
        assert builder.step()
        builder.close()


@REPLACED
def test_an_index_that_is_replaced_is_made_anew(output: Path, replace: Callable[[Path], None]) -> None:
    builder, place = index_whole(output)
    builder.close()
    place.close()
    replace(place.database)
    builder, place = index_whole(output)
    assert builder.totals.rows == 5
    builder.close()
    place.close()


def test_a_job_file_that_is_replaced_names_no_input(output: Path) -> None:
    pipe(output.with_name("job.toml"))
    assert list(find_inputs(output, f"headrace run {output.with_name('job.toml')}")) == []
