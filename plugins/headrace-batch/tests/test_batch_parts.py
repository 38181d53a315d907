"""Ledger, files of parts, uploads and options."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace_batch.known_dialects import OPENAI
from headrace_batch.ledger import LEDGER, Ledger, read_ledger
from headrace_batch.options import BatchOptions
from headrace_batch.part import NEXT_STEP, Part, Stage
from headrace_batch.part_file import custom_id_of, decode_request_line, request_line
from headrace_batch.upload_content import upload_content


def a_part(number: int = 1) -> Part:
    return Part(number, 2, 100, "d" * 32, "/chat/completions", "m", "https://batches.test/v1")


@pytest.mark.anyio
async def test_a_ledger_is_read_as_it_was_written_without_a_torn_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run", "abc")
    await ledger.begin()
    await ledger.plan(a_part())
    part = ledger.parts[1]
    await ledger.advance(part, Stage.UPLOADING)
    await ledger.advance(part, Stage.UPLOADED, file="file-1")
    await ledger.advance(part, Stage.CREATING)
    await ledger.advance(part, Stage.CREATED, batch="batch-1")
    await ledger.learn("requests", 10)
    ledger.close()
    path = tmp_path / "run" / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"part":1,"stage":"en')
    again = Ledger(tmp_path / "run", "abc")
    try:
        assert (again.is_new, again.limits) == (False, {"requests": 10})
        found = again.parts[1]
        assert (found.stage, found.file, found.batch) == (Stage.CREATED, "file-1", "batch-1")
        assert path.read_bytes() == whole
    finally:
        again.close()
    with pytest.raises(headrace.JournalError, match="belongs to another run"):
        Ledger(tmp_path / "run", "other")


@pytest.mark.anyio
async def test_a_batch_that_exists_is_added_in_one_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run", "abc")
    path = tmp_path / "run" / LEDGER
    try:
        await ledger.begin()
        for stage in (Stage.CREATED, Stage.KEPT):
            part = attrs.evolve(a_part(), stage=stage, file="file-1", batch="batch-1", adopted=True)
            before = path.read_bytes()
            await ledger.adopt(part)
            assert path.read_bytes().count(b"\n") == before.count(b"\n") + 1
            assert read_ledger(path).parts == ledger.parts == {1: part}
            assert ledger.has_batches == (stage is Stage.CREATED)
    finally:
        ledger.close()


@pytest.mark.parametrize(
    "line",
    [b"x\n", b'{"part":2,"stage":"created"}\n', b'{"part":1,"stage":"settled"}\n{}\n', b'{"format":9}\n'],
)
def test_a_damaged_ledger_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / LEDGER
    path.write_bytes(line)
    with pytest.raises(headrace.JournalError, match=r"ledger\.jsonl:1: damaged"):
        read_ledger(path)


def test_each_stage_has_a_next_step() -> None:
    assert set(NEXT_STEP) == set(Stage)


@settings(deadline=None)
@given(before=st.integers(0, 300), length=st.integers(0, 300), size=st.integers(0, 200))
def test_slices_of_an_upload_are_those_of_the_whole_form(
    tmp_path_factory: pytest.TempPathFactory, before: int, length: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("upload", numbered=True) / "part.jsonl"
    path.write_bytes(bytes(range(200))[:size])
    with upload_content(path, "name.jsonl", {"purpose": "batch"}) as content:
        whole = content[: len(content)]
        assert len(whole) == len(content)
        assert content[before : before + length] == whole[before : before + length]
        assert bytes(range(200))[:size] in whole
    path.unlink()


@settings(deadline=None)
@given(id=st.text(min_size=1, max_size=100))
def test_custom_ids_are_short_and_lines_can_be_read_back(id: str) -> None:
    custom_id = custom_id_of(id)
    assert len(custom_id) <= 64
    assert custom_id == id or len(id) > 64
    line = request_line(custom_id, "/v1/embeddings", OPENAI.line, b'{"input":\n"a"}')
    assert line.count(b"\n") == 1
    found = decode_request_line(line)
    assert (found.custom_id, bytes(found.body)) == (custom_id, b'{"input": "a"}')


@pytest.mark.parametrize(("now", "day"), [("22:00", 3), ("05:59", 2), ("06:00", 3)])
def test_the_time_to_finish_is_the_next_one(now: str, day: int) -> None:
    at = datetime.datetime.combine(datetime.date(2026, 1, 2), datetime.time.fromisoformat(now))
    end = datetime.datetime(2026, 1, day, 6).astimezone()
    assert BatchOptions(finish_by="06:00").finish_at(at) == end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_requests": 0}, "max_requests=0: must be an integer of at least 1"),
        ({"poll": 0}, "poll=0: must be a number of seconds above 0"),
        ({"finish_by": "soon"}, "finish_by='soon': must be a local time like 06:00"),
        ({"finish_by": "06:00+02:00"}, "must be a local time like 06:00"),
        ({"finish_by": 6}, "finish_by=6: must be a local time like 06:00"),
        ({"stragglers": "no"}, "stragglers='no': must be 'batch' or 'sync'"),
        ({"detach": True, "finish_by": "06:00"}, "detach=: leave out finish_by="),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(headrace.SettingsError, match=message):
        BatchOptions(**options)
