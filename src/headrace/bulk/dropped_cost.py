"""The cost of lines that were removed from an output so that their items are sent again.

It is stored in the sidecar: one more record with the new total each time.
"""

from __future__ import annotations

import os
from decimal import Decimal

import msgspec

from headrace.bulk.run_lock import LARGEST_SIDECAR, append_record


class _DroppedCost(msgspec.Struct):
    spent_on_dropped_lines: Decimal


def dropped_cost(sidecar: int) -> Decimal:
    """The total in USD, from the sidecar's descriptor."""
    for record in reversed(os.pread(sidecar, LARGEST_SIDECAR, 0).split(b"\n")[:-1]):
        try:
            return msgspec.json.decode(record, type=_DroppedCost).spent_on_dropped_lines
        except msgspec.DecodeError:
            continue
    return Decimal(0)


def record_dropped_cost(sidecar: int, total: Decimal) -> None:
    """Write a new total in USD; raises `OSError`."""
    if total:
        append_record(sidecar, msgspec.json.encode(_DroppedCost(total)))
