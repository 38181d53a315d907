"""Where a run writes: an output file, a table with an output file beside it, or stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from headrace.bulk.output_path import check_output, index_of, sidecar_of, steps_journal_of
from headrace.bulk.sources import Source
from headrace.bulk.sources.urls import is_url, shown_name
from headrace.bulk.tables import Table, is_table
from headrace.errors import InputError, JournalError

STDOUT = "-"

_OTHER_FORMS = (".xlsx", ".xls", ".ods", ".arrow", ".feather", ".tsv", ".gz", ".zst", ".zip")
"""Names of forms that no output has. Lines in such a file would surprise the program that opens it."""

T = TypeVar("T", bound=Table)


def lines_path(out: str | os.PathLike[str], table: type[Table] = Table) -> Path | None:
    """The file for the lines of a run: the output, or the file beside an output that is a table.

    Args:
        out: The output as the user named it.
        table: The kind of tables that the run writes.

    Returns:
        The path; None for stdout.

    Raises:
        JournalError: The output cannot be such a file.
    """
    if os.fspath(out) == STDOUT:
        return None
    if is_url(out):
        raise JournalError(
            f"{shown_name(out)}: is a URL; write to a local file, and copy it when the run has ended"
        )
    path = Path(out)
    check_output(path)
    if (suffix := path.suffix.lower()) in _OTHER_FORMS:
        raise JournalError(
            f"{out}: no output is {suffix}; name a table (.csv, .parquet), or a file for lines (.jsonl)"
        )
    if not is_table(path, table.suffixes):
        return path
    lines = Path(f"{path}.jsonl")
    check_output(lines)
    return lines


def table_of(
    out: str | os.PathLike[str],
    lines: Path | None,
    table: str | os.PathLike[str] | None,
    source: Source,
    kind: type[T],
) -> T | None:
    """The table of a run, and a check that the files of the run are different ones.

    Args:
        out: The output as the user named it.
        lines: Its `lines_path`.
        table: The table as the user named it; None for no other one than ``out``.
        source: The input.
        kind: The kind of the table.

    Raises:
        InputError: The table cannot be written, there are two, or the output is the input.
        JournalError: The output is a table that belongs to no run.
    """
    if table is not None and is_url(table):
        raise InputError(
            f"table={shown_name(table)}: is a URL; write to a local file, and copy it when the run has ended"
        )
    if lines is None:
        if table is not None:
            raise InputError("out=-: leave out table=; a table needs an output that can be read again")
        return None
    for path in (Path(out), lines, sidecar_of(lines), index_of(lines), steps_journal_of(lines)):
        if source.is_at(path):
            raise InputError(f"{path}: is the input; name another file for the output")
    if lines == Path(out):
        return None if table is None else kind(table, source, lines)
    if table is not None:
        raise InputError("table=: the output is a table already; leave it out")
    if Path(out).exists() and not lines.exists():
        raise JournalError(
            f"{out}: exists, but {lines.name}, the journal of its run, does not; name another file"
        )
    return kind(Path(out), source, lines, "out")
