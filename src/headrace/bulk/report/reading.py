"""Reads the output of a bulk run, a line at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.records import decode_record
from headrace.bulk.report.statistics import Statistics
from headrace.errors import InputError


def read(path: str | os.PathLike[str]) -> Statistics:
    """The statistics of an output file, which a run may be writing to.

    A last line that has no end yet is left out, and ``torn`` of the statistics says so. Raises `InputError`
    for a file that cannot be read, has no line, or has one that headrace has not written.
    """
    try:
        with Path(path).open("rb") as file:
            return count(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def count(lines: Iterable[bytes], name: str) -> Statistics:
    """The same of lines with their line feeds; ``name`` is the file's, for messages."""
    statistics = Statistics()
    for number, raw in enumerate(lines, 1):
        if not raw.endswith(b"\n"):
            statistics.torn = True
            break
        try:
            statistics.add(decode_record(raw))
        except NOT_JSON as error:
            raise InputError(f"{name}:{number}: no output line of headrace run: {error}") from None
    if not statistics.items:
        raise InputError(f"{name}: no item is done in it; name the --out of a headrace run")
    return statistics
