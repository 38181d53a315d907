"""The cost of lines that were removed from an output so that their items are sent again.

It is stored in the sidecar, after the fingerprint: one more line with the new total each time.
"""

from __future__ import annotations

import os
from decimal import Decimal

import msgspec

from headrace.bulk.line_file import write_all

_LARGEST_SIDECAR = 1 << 24


class _DroppedCost(msgspec.Struct):
    spent_on_dropped_lines: Decimal


def dropped_cost(sidecar: int) -> Decimal:
    """The total in USD, from the sidecar's descriptor."""
    *lines, _ = os.pread(sidecar, _LARGEST_SIDECAR, 0).split(b"\n")
    if len(lines) < 2:
        return Decimal(0)
    try:
        return msgspec.json.decode(lines[-1], type=_DroppedCost).spent_on_dropped_lines
    except msgspec.DecodeError:
        return Decimal(0)


def record_dropped_cost(sidecar: int, total: Decimal) -> None:
    """Write a new total in USD; raises `OSError`."""
    if not total:
        return
    written = os.pread(sidecar, _LARGEST_SIDECAR, 0)
    end = written.rfind(b"\n") + 1
    os.ftruncate(sidecar, end)
    os.lseek(sidecar, end, os.SEEK_SET)
    _, error = write_all(sidecar, msgspec.json.encode(_DroppedCost(total)) + b"\n")
    if error is not None:
        raise error
    os.fsync(sidecar)
