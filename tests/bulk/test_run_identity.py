"""The id of a run, and requests that items do not keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import InputError, JournalError, Request
from headrace.bulk import Journal, WorkItem, run_identity


def test_a_run_keeps_its_id_in_all_sessions_and_another_has_another(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    ids = []
    for out in (first, first, second):
        with Journal(out, {"prompt": "x"}, command="headrace run a") as journal:
            ids.append(journal.run_id)
            assert run_identity(out).id == journal.run_id  # while the run has its lock
    assert ids[0] == ids[1] != ids[2]
    assert run_identity(second).command == "headrace run a"


def test_a_run_of_an_older_version_has_an_id(tmp_path: Path) -> None:
    sidecar = tmp_path / "a.jsonl.journal"
    sidecar.write_bytes(b'{"headrace":2,"prompt":"x"}\n')
    with Journal(tmp_path / "a.jsonl", {"prompt": "x"}) as journal:
        assert len(journal.run_id) == 16
        assert run_identity(tmp_path / "a.jsonl").id == journal.run_id


@pytest.mark.parametrize("written", [None, b"", b"x\n", b"[]\n"])
def test_a_file_without_a_run_is_named(tmp_path: Path, written: bytes | None) -> None:
    if written is not None:
        (tmp_path / "a.jsonl.journal").write_bytes(written)
    with pytest.raises(JournalError, match=r"a\.jsonl: is not the output of a run"):
        run_identity(tmp_path / "a.jsonl")


def test_an_item_reads_back_a_request_that_it_does_not_keep() -> None:
    item = WorkItem(0, "a", lambda id: Request({"id": id}))
    assert item.request.body == {"id": "a"}
    with pytest.raises(InputError):
        _ = WorkItem(0, "a", InputError("no")).request
