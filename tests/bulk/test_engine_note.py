"""Calls of an engine that may go on: only a session with this engine continues the run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import pytest

from headrace import InputError, JournalError
from headrace.bulk import Journal
from headrace.bulk.dropped_cost import dropped_cost
from headrace.bulk.engine_note import engine_with_calls
from headrace.bulk.fingerprints import read_fingerprints
from headrace.bulk.report.output_reader import read_statistics
from headrace.cli.main import cli
from headrace.cli.option_names import CommandContext, with_options

PRINT = {"prompt": "x"}


def left_by(out: Path, engine: str, *notes: bool) -> None:
    with Journal(out, PRINT, engine=engine) as journal:
        for note in notes:
            journal.note_calls(note)


@pytest.mark.parametrize(
    ("notes", "engine", "options", "refused"),
    [
        ((), None, {}, False),
        ((False,), None, {}, False),
        ((True,), None, {}, True),
        ((True,), "ray", {}, True),
        ((True,), "batch", {}, False),
        ((True,), None, {"keep_done": True}, False),
        ((True, True, False), None, {}, False),
        ((True, False, True), None, {}, True),
    ],
)
def test_a_session_without_the_engine_is_refused_while_its_calls_may_go_on(
    tmp_path: Path, notes: tuple[bool, ...], engine: str | None, options: dict[str, Any], refused: bool
) -> None:
    out = tmp_path / "out.jsonl"
    left_by(out, "batch", *notes)
    for _ in range(2):  # a refused session changes nothing
        expected = pytest.raises(
            JournalError, match=r"out\.jsonl: the engine 'batch' may have calls of this run"
        )
        with expected if refused else nullcontext(), Journal(out, PRINT, engine=engine, **options) as journal:
            assert (engine_with_calls(journal.sidecar) == "batch") == bool(notes and notes[-1])


def test_a_note_is_written_once_and_other_records_are_read_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    left_by(out, "batch", False)
    sidecar = tmp_path / "out.jsonl.journal"
    before = sidecar.read_bytes()
    left_by(out, "batch", True, True)
    assert sidecar.read_bytes().count(b"\n") == before.count(b"\n") + 1
    with Journal(out, PRINT, engine="batch") as journal:
        assert journal.done == dropped_cost(journal.sidecar) == 0
    assert [each["prompt"] for each in read_fingerprints(out).values] == ["x"]
    with sidecar.open("ab") as file:
        file.write(b'{"engine_with_calls":nu')  # a torn line
    with pytest.raises(JournalError, match="may have calls"), Journal(out, PRINT):
        pass


def test_the_message_names_options_on_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    left_by(out, "batch", True)
    with pytest.raises(JournalError) as caught, Journal(out, PRINT):
        pass
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    message = with_options(str(caught.value), CommandContext(command, info_name="run"))
    assert "name it as --engine to fetch their results, pay twice with --keep-done, or begin a new" in message
    assert "=" not in message.removeprefix(str(out))


def test_an_output_whose_calls_all_go_on_elsewhere_is_not_taken_for_another_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    left_by(out, "batch", True)
    with pytest.raises(InputError, match="no finished item; calls of the engine batch may go on; run its"):
        read_statistics(out)
    left_by(out, "batch", False)
    with pytest.raises(InputError, match="no finished item; name the --out of a headrace run"):
        read_statistics(out)
