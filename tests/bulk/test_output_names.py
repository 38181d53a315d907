"""One output with two names: links and other spellings of its path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.bulk.journal import Journal
from headrace.bulk.run_facts import read_run_facts
from headrace.bulk.run_lock import set_aside
from headrace.errors import JournalError

PRINT = {"model": "m"}
DONE = b'{"id":"headrace-0","custom_id":"a","error":null}\n'
FAILED = b'{"id":"headrace-1","custom_id":"b","error":{"code":"x","message":"y"}}\n'


def symbolic_link(out: Path) -> Path:
    link = out.with_name("link.jsonl")
    link.symlink_to(out)
    return link


def link_to_a_link(out: Path) -> Path:
    link = out.with_name("second.jsonl")
    link.symlink_to(symbolic_link(out).name)
    return link


def linked_directory(out: Path) -> Path:
    folder = out.parent.with_name("folder")
    folder.symlink_to(out.parent)
    return folder / out.name


def hard_link(out: Path) -> Path:
    link = out.with_name("hard.jsonl")
    link.hardlink_to(out)
    return link


def relative_path(out: Path) -> Path:
    return Path(os.path.relpath(out))


def path_with_dots(out: Path) -> Path:
    return out.parent / ".." / out.parent.name / out.name


SYMBOLIC = [symbolic_link, link_to_a_link, linked_directory, relative_path, path_with_dots]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "out.jsonl"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("other_name", [*SYMBOLIC, hard_link])
def test_two_runs_exclude_each_other_by_any_names_of_one_output(
    out: Path, other_name: Callable[[Path], Path], begun: bool
) -> None:
    with Journal(out, PRINT) as first:
        if begun:
            first.append([0], DONE)
        other = other_name(out)
        with pytest.raises(JournalError) as refused, Journal(other, PRINT):
            pass
        assert str(refused.value) == f"{other}: another run is writing to it; wait until it ends"
        with pytest.raises(JournalError, match="another run is writing to it; wait until it ends"):
            set_aside(other)
        first.append([1], FAILED)
    assert out.read_bytes() == (DONE if begun else b"") + FAILED
    names = {each.name for each in out.parent.iterdir()}
    assert names <= {"out.jsonl", "out.jsonl.journal", "link.jsonl", "second.jsonl", "hard.jsonl"}


def test_a_refused_run_leaves_nothing_beside_a_hard_link(out: Path) -> None:
    with Journal(out, PRINT):
        other = hard_link(out)
        with pytest.raises(JournalError), Journal(other, PRINT):
            pass
    assert sorted(each.name for each in out.parent.iterdir()) == [
        *("hard.jsonl", "out.jsonl", "out.jsonl.journal")
    ]


def test_a_finished_output_does_not_belong_to_its_hard_link(out: Path) -> None:
    with Journal(out, PRINT) as run:
        run.append([0], DONE)
    other = hard_link(out)
    with (
        pytest.raises(JournalError, match=r"hard\.jsonl\.journal does not identify its run"),
        Journal(other, PRINT),
    ):
        pass
    assert not other.with_name("hard.jsonl.journal").exists()


@pytest.mark.parametrize("other_name", SYMBOLIC)
def test_a_run_continues_by_another_name_and_keeps_the_link(
    out: Path, other_name: Callable[[Path], Path]
) -> None:
    with Journal(out, PRINT | {"prompt": "{x}"}) as run:
        run.append([0, 1], DONE + FAILED)
    other = other_name(out)
    was_link = other.is_symlink()
    with Journal(other, PRINT | {"prompt": "{x}"}) as again:
        assert (again.done, again.failed) == (2, 1)
        assert len(again.remove(again.has_failed)) == 1
        with pytest.raises(JournalError, match="another run is writing"), Journal(out, PRINT):
            pass
    assert other.is_symlink() == was_link
    assert out.read_bytes() == DONE
    assert dict(read_run_facts(other))["Prompt"] == "{x}"


def test_a_link_to_no_file_creates_the_file_and_its_sidecar_there(out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(out)
    with Journal(link, PRINT) as run:
        run.append([0], DONE)
    assert link.is_symlink()
    assert sorted(each.name for each in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.journal"]


def test_a_fresh_run_sets_the_file_aside_and_not_the_link(out: Path) -> None:
    with Journal(out, PRINT) as run:
        run.append([0], DONE)
    link = symbolic_link(out)
    assert set_aside(link) == out.with_name("out.jsonl.1")
    assert link.is_symlink()
    with Journal(link, {"model": "n"}) as fresh:
        assert fresh.done == 0
    assert out.with_name("out.jsonl.1").read_bytes() == DONE
    assert out.read_bytes() == b""


def test_the_new_file_is_locked_after_failed_lines_were_removed(out: Path) -> None:
    with Journal(out, PRINT) as run:
        run.append([0, 1], DONE + FAILED)
        run.remove(run.has_failed)
        other = hard_link(out)
        with pytest.raises(JournalError, match="another run is writing"), Journal(other, PRINT):
            pass
