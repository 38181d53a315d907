"""What the lines had cost that were taken out of an output, to have their items sent again.

It stands behind the fingerprint in the file beside the output, a line each time with the sum so far.
"""

from __future__ import annotations

import os
from decimal import Decimal

import msgspec

from headrace.bulk.appending import write_all

_MOST = 1 << 24


class _Dropped(msgspec.Struct):
    spent_on_dropped_lines: Decimal


def spent_on_dropped(sidecar: int) -> Decimal:
    """The sum in USD, of an open file."""
    *lines, _ = os.pread(sidecar, _MOST, 0).split(b"\n")
    if len(lines) < 2:
        return Decimal(0)
    try:
        return msgspec.json.decode(lines[-1], type=_Dropped).spent_on_dropped_lines
    except msgspec.DecodeError:
        return Decimal(0)


def note_dropped(sidecar: int, spent: Decimal) -> None:
    """Write a new sum; raises `OSError`."""
    if not spent:
        return
    written = os.pread(sidecar, _MOST, 0)
    end = written.rfind(b"\n") + 1
    os.ftruncate(sidecar, end)
    os.lseek(sidecar, end, os.SEEK_SET)
    _, refused = write_all(sidecar, msgspec.json.encode(_Dropped(spent)) + b"\n")
    if refused is not None:
        raise refused
    os.fsync(sidecar)
