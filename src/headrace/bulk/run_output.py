"""Where a run writes: an output file, a table with an output file beside it, or stdout."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.bulk.output_path import check_output, index_of, sidecar_of
from headrace.bulk.sources import Source
from headrace.bulk.tables import Table, is_table
from headrace.errors import InputError, JournalError

STDOUT = "-"


def lines_path(out: str | os.PathLike[str]) -> Path | None:
    """The file for the lines of a run: the output, or the file beside an output that is a table.

    Args:
        out: The output as the user named it.

    Returns:
        The path; None for stdout.

    Raises:
        JournalError: The output cannot be such a file.
    """
    if os.fspath(out) == STDOUT:
        return None
    path = Path(out)
    check_output(path)
    if not is_table(path):
        return path
    lines = Path(f"{path}.jsonl")
    check_output(lines)
    return lines


def table_of(
    out: str | os.PathLike[str],
    lines: Path | None,
    table: str | os.PathLike[str] | None,
    source: Source,
) -> Table | None:
    """The table of a run, and a check that the files of the run are different ones.

    Args:
        out: The output as the user named it.
        lines: Its `lines_path`.
        table: The table as the user named it; None for no other one than ``out``.
        source: The input.

    Raises:
        InputError: The table cannot be written, there are two, or the output is the input.
        JournalError: The output is a table that belongs to no run.
    """
    if lines is None:
        if table is not None:
            raise InputError("out=-: leave out table=; a table needs an output that can be read again")
        return None
    for path in (Path(out), lines, sidecar_of(lines), index_of(lines)):
        if source.is_at(path):
            raise InputError(f"{path}: is the input; name another file for the output")
    if lines == Path(out):
        return None if table is None else Table(table, source, lines)
    if table is not None:
        raise InputError("table=: the output is a table already; leave it out")
    if Path(out).exists() and not lines.exists():
        raise JournalError(
            f"{out}: exists, but {lines.name}, the journal of its run, does not; name another file"
        )
    return Table(Path(out), source, lines, "out")
