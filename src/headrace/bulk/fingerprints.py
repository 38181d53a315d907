"""Which fingerprint (prompt, model, parameters) each line of an output was made with.

A run has one fingerprint, and a further one after each ``keep_done``. The number of a line's item is higher
than those of all lines of earlier sessions. So the sidecar notes the first number of each further
fingerprint, before any line is written with it, and the fingerprint of a line follows from its number.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.regular_file import open_regular
from headrace.bulk.output_path import sidecar_of
from headrace.bulk.run_lock import LARGEST_SIDECAR, append_record

_NOT_COMPARED = ("headrace", "run", "command")


@attrs.frozen
class Fingerprints:
    """The fingerprints of a run.

    Attributes:
        values: Those that differ, in the order in which they were used. Their numbers begin at 1.
        starts: The first number of an item for each change, in ascending order.
        numbers: The number of the fingerprint since each change.
    """

    values: list[Mapping[str, Any]] = attrs.field(factory=list)
    starts: list[int] = attrs.field(factory=list)
    numbers: list[int] = attrs.field(factory=list)

    @property
    def are_several(self) -> bool:
        """Whether lines may have been made with different fingerprints."""
        return len(self.values) > 1

    def number_of(self, index: int) -> int:
        """The number of the fingerprint of the line with this index; 0 if the run has only one."""
        return self.numbers[bisect_right(self.starts, index) - 1] if self.are_several else 0


def note_first_index(sidecar: int, first_index: int) -> None:
    """Note the first index of the last fingerprint, unless it has one that is low enough.

    The first fingerprint needs none. After a crash before this note, no line has the last fingerprint, and
    the next session with it makes the note. If the lines with the highest indexes were removed to be sent
    again, the next indexes are below an earlier note; no line has the last fingerprint then, either.

    Args:
        sidecar: The descriptor of the sidecar.
        first_index: An index above those of all lines.

    Raises:
        OSError: The note cannot be written.
    """
    found = _with_starts(os.pread(sidecar, LARGEST_SIDECAR, 0))
    start = found[-1][1] if found else 0
    if start is None or start > first_index:
        append_record(sidecar, msgspec.json.encode({"first_index": first_index}))


def read_fingerprints(out: str | os.PathLike[str]) -> Fingerprints:
    """The fingerprints of an output; empty if its sidecar is missing or cannot be read."""
    try:
        with open_regular(sidecar_of(out)) as file:
            found = _with_starts(file.read(LARGEST_SIDECAR))
    except (OSError, *NOT_JSON):
        return Fingerprints()
    changes: list[tuple[int, Mapping[str, Any]]] = []
    for value, start in found:
        if start is None:
            continue
        while changes and changes[-1][0] >= start:  # its lines were removed before the next one began
            changes.pop()
        changes.append((start, value))
    values: list[Mapping[str, Any]] = []
    for _, value in changes:
        if not any(_compared(value) == _compared(known) for known in values):
            values.append(value)
    compared = [_compared(value) for value in values]
    return Fingerprints(
        values,
        [start for start, _ in changes],
        [compared.index(_compared(value)) + 1 for _, value in changes],
    )


def _with_starts(written: bytes) -> list[tuple[Mapping[str, Any], int | None]]:
    """The fingerprints of a sidecar with their first indexes, None if that was not noted."""
    found: list[tuple[Mapping[str, Any], int | None]] = []
    for line in written.split(b"\n")[:-1]:
        record = msgspec.json.decode(line)
        if not isinstance(record, dict):
            continue
        if "headrace" in record:
            found.append((record, None if found else 0))
        elif found and isinstance(record.get("first_index"), int):
            found[-1] = (found[-1][0], record["first_index"])
    return found


def _compared(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fingerprint.items() if key not in _NOT_COMPARED}
