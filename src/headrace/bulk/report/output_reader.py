"""Reads the output of a bulk run line by line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from headrace._support.regular_file import open_regular
from headrace.bulk.engine_note import engine_left_by
from headrace.bulk.fingerprints import Fingerprints, read_fingerprints
from headrace.bulk.output_kind import cannot_be_read, check_torn_line, read_output_line
from headrace.bulk.output_path import shards_of
from headrace.bulk.report.statistics import Statistics
from headrace.errors import InputError


def read_statistics(path: str | os.PathLike[str], *, content: bool = True) -> Statistics:
    """Read an output file, or all shards of an output that is a folder; a run may still be writing to it.

    A last line without a line feed is left out, and sets ``torn`` in the statistics.

    Args:
        path: The output.
        content: Whether answers and messages of errors are kept.

    Raises:
        InputError: The file cannot be read, is empty, or holds a line that headrace did not write.
    """
    statistics, fingerprints = Statistics(content=content), read_fingerprints(path)
    for file in shards_of(Path(path)) or [Path(path)]:
        try:
            with open_regular(file) as lines:
                count_lines(lines, str(file), fingerprints, statistics)
        except OSError as error:
            raise InputError(cannot_be_read(file, error)) from error
    if not statistics.items:
        engine = engine_left_by(path)
        what = "name the --out of a headrace run"
        if engine is not None:
            what = f"calls of the engine {engine} may go on; run its command again to fetch their results"
        raise InputError(f"{path}: holds no finished item; {what}")
    return statistics


def count_lines(
    lines: Iterable[bytes],
    name: str,
    fingerprints: Fingerprints | None = None,
    statistics: Statistics | None = None,
) -> Statistics:
    """The statistics of lines that end with line feeds; messages begin with ``name``."""
    statistics, fingerprints = statistics or Statistics(), fingerprints or Fingerprints()
    for number, raw in enumerate(lines, 1):
        if not raw.endswith(b"\n"):
            check_torn_line(raw, name, number)
            statistics.torn = True
            break
        line = read_output_line(raw, name, number)
        line.headrace.fingerprint = fingerprints.number_of(line.index or 0)
        statistics.add(line)
    return statistics
