"""What a sidecar says of the control of its run: where it takes messages, and which limits were changed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from headrace._support.regular_file import read_regular
from headrace._support.text import shortened
from headrace.bulk.output_path import sidecar_of
from headrace.bulk.policy_limits import LimitValue
from headrace.bulk.run_lock import LARGEST_SIDECAR, append_record
from headrace.errors import JournalError

_log = logging.getLogger("headrace")

T = TypeVar("T", bound=msgspec.Struct)

_MOST_BYTES = LARGEST_SIDECAR // 2
"""Bytes of a sidecar from which changes are only logged: a program may change limits without end."""

CANCELLED, RETRIED = ITEMS = ("cancelled", "retry-failed")
"""Changes of items; they have no value before."""


class Change(msgspec.Struct, frozen=True, rename={"old": "from", "new": "to"}):
    """A change of a limit, or of the state of a run.

    Attributes:
        time: When, in seconds since 1970.
        what: The limit, "state", "cancelled" or "retry-failed".
        old: The value before; None for no limit.
        new: The value since then; the items, if they were cancelled or sent again.
    """

    time: float
    what: str
    old: LimitValue
    new: LimitValue

    def __str__(self) -> str:
        if self.what in ITEMS:
            return f"{self.what}: {self.new}"
        return f"{self.what}: {_text(self.old)} → {_text(self.new)}"


class _ChangeRecord(msgspec.Struct):
    change: Change


class _AddressRecord(msgspec.Struct):
    control: str


def _text(value: LimitValue) -> str:
    return "none" if value is None else str(value)


def change_of(what: str, old: LimitValue, new: LimitValue) -> Change:
    """A change that is made now; of long values, the beginning."""
    return Change(round(time.time(), 3), what, _bounded(old), _bounded(new))


def _bounded(value: LimitValue) -> LimitValue:
    return shortened(value) if isinstance(value, str) else value


def record_change(sidecar: int, change: Change) -> None:
    """Write a change to a sidecar, by its descriptor; a change that cannot be written is only logged."""
    _append(sidecar, _ChangeRecord(change))


def record_address(sidecar: int, address: str) -> None:
    """Write where a run takes control messages to its sidecar, by the descriptor of this."""
    _append(sidecar, _AddressRecord(address))


def _append(sidecar: int, record: msgspec.Struct) -> None:
    try:
        if os.fstat(sidecar).st_size < _MOST_BYTES:
            append_record(sidecar, msgspec.json.encode(record))
    except OSError as error:
        _log.warning("the journal's sidecar cannot be written: %s", error.strerror)


def control_address(out: str | os.PathLike[str]) -> str | None:
    """Where the run that writes to an output takes control messages, or took them when it was alive.

    Args:
        out: The output; that of a run that wrote a table is the table.

    Returns:
        The address; None if the run took none.

    Raises:
        JournalError: There is no such run.
    """
    sidecar, beside_table = sidecar_of(out), sidecar_of(f"{os.fspath(out)}.jsonl")
    try:
        written = read_regular(beside_table if beside_table.exists() and not sidecar.exists() else sidecar)
    except FileNotFoundError:
        raise JournalError(
            f"{os.fspath(out)}: is not the output of a run; {sidecar.name} is missing"
        ) from None
    except OSError as error:
        raise JournalError(f"{os.fspath(out)}: {sidecar.name} cannot be read: {error.strerror}") from None
    records = list(_records(written, _AddressRecord))
    return records[-1].control if records else None


def read_changes(out: str | os.PathLike[str]) -> list[Change]:
    """The changes that were made while the run went on, oldest first; empty without a sidecar."""
    try:
        written = read_regular(sidecar_of(out))
    except OSError:
        return []
    return [record.change for record in _records(written, _ChangeRecord)]


def _records(written: bytes, kind: type[T]) -> Iterator[T]:
    decode = msgspec.json.Decoder(kind).decode
    for line in written.split(b"\n")[:-1]:
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
