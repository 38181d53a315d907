"""Reads the output of a bulk run line by line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.output_line import decode_line
from headrace.bulk.report.statistics import Statistics
from headrace.errors import InputError


def read_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Read an output file; a run may still be writing to it.

    A last line without a line feed is left out, and sets ``torn`` in the statistics.

    Raises:
        InputError: The file cannot be read, is empty, or holds a line that headrace did not write.
    """
    try:
        with Path(path).open("rb") as file:
            return count_lines(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def count_lines(lines: Iterable[bytes], name: str) -> Statistics:
    """The statistics of lines that end with line feeds; messages begin with ``name``."""
    statistics = Statistics()
    for number, raw in enumerate(lines, 1):
        if not raw.endswith(b"\n"):
            statistics.torn = True
            break
        try:
            line = decode_line(raw)
            if line.index is None:
                raise msgspec.ValidationError(f"its id is {line.id!r}")
        except NOT_JSON as error:
            raise InputError(f"{name}:{number}: not an output line of headrace run: {error}") from None
        statistics.add(line)
    if not statistics.items:
        raise InputError(f"{name}: holds no finished item; name the --out of a headrace run")
    return statistics
