"""The journal of the steps of a job: `OUT.steps`, with a line for each answer of a step.

A line is written before the next step of its row is sent, so no answer is paid twice. Answers are found by
the row's id, the step and a digest of the request. So an answer is used again only if its request would be
the same now: what a changed step does not concern is not sent again.

The process that holds the lock of the output is the only one that writes here. After a crash, the file may
end in a torn line, which is removed. Any other foreign line is reported as damage.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.id_table import IdTable
from headrace.bulk.line_file import LineFile
from headrace.bulk.output_line import OutputLine, decode_line, finite_sum
from headrace.bulk.output_path import cannot_be_written, check_output, steps_journal_of
from headrace.bulk.run_lock import LARGEST_SIDECAR, append_record
from headrace.errors import JournalError

_OFFSET_SIZE = 6


class _EntryNotes(msgspec.Struct, gc=False):
    step: str
    request: str
    cost: Decimal | None = None
    possible_cost: Decimal | None = None


class _Entry(msgspec.Struct, gc=False):
    """The part of a line that opening needs."""

    custom_id: str
    headrace: _EntryNotes


class _SpentBefore(msgspec.Struct):
    steps_spent_before: Decimal


_decode_entry = msgspec.json.Decoder(_Entry).decode


class StepsJournal:
    """The answers of steps. A context manager; entering reads the file and removes a torn line at its end.

    Args:
        out: The output of the run; its lock must be held.
        sidecar: The descriptor of the run's sidecar.

    Attributes:
        path: The file.
        spent: Cost in USD of the earlier sessions of this run. Answers that were there when the run began,
            from a run that ``fresh`` has set aside, are not counted.

    Raises:
        JournalError: On entering: the file cannot be written, or is damaged.
    """

    def __init__(self, out: str | os.PathLike[str], sidecar: int) -> None:
        self.path: Path = Path(f"{os.fspath(out)}.steps")
        self._real = steps_journal_of(out)
        self._sidecar = sidecar
        self._offsets = IdTable(_OFFSET_SIZE)
        self._lines = self._noted = 0
        self.spent: Decimal = Decimal(0)

    def __enter__(self) -> Self:
        check_output(self.path)
        with ExitStack() as opened:
            try:
                self._file = LineFile(self._real, self.path)
                opened.callback(self._file.close)
                self._reader = opened.enter_context(self._real.open("rb"))
                total = self._read()
                self.spent = total - self._spent_before(total)
            except OSError as error:
                raise JournalError(cannot_be_written(self.path, error)) from error
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()
        if not self._lines and self._real.exists() and not self._real.stat().st_size:
            self._real.unlink()  # no row had a second call

    def _read(self) -> Decimal:
        """Note the lines, and remove a torn one at the end; returns the cost of all."""
        torn, total = "", Decimal(0)
        for number, raw in enumerate(self._reader, 1):
            if torn:
                raise JournalError(f"{self.path}:{number - 1}: {torn}; repair or remove that line")
            if not raw.endswith(b"\n"):
                torn = "torn"
                continue
            try:
                entry = _decode_entry(raw)
            except NOT_JSON as error:
                torn = f"damaged: {error}"
                continue
            self._note(entry, len(raw))
            total += finite_sum(entry.headrace.cost, entry.headrace.possible_cost)
            self._lines += 1
        if torn:
            self._file.truncate(self._noted)
        return total

    def _note(self, entry: _Entry, size: int) -> None:
        """Note where the next line is, which has this size."""
        key = _key(entry.custom_id, entry.headrace.step, entry.headrace.request)
        self._offsets.set(key, self._noted.to_bytes(_OFFSET_SIZE))
        self._noted += size

    def note_session(self) -> None:
        """Note the lines that this session has written; another thread may write further ones meanwhile.

        Raises:
            JournalError: The file cannot be read.
        """
        try:
            with self._real.open("rb") as file:
                file.seek(self._noted)
                while (raw := file.readline()).endswith(b"\n"):
                    self._note(_decode_entry(raw), len(raw))
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error

    def forget(self, id: str) -> None:
        """Do nothing: the file keeps the answers of all rows."""

    def _spent_before(self, total: Decimal) -> Decimal:
        """The cost of the lines that were there when the run began; the sidecar keeps it."""
        for record in os.pread(self._sidecar, LARGEST_SIDECAR, 0).split(b"\n")[:-1]:
            try:
                return msgspec.json.decode(record, type=_SpentBefore).steps_spent_before
            except msgspec.DecodeError:
                continue
        append_record(self._sidecar, msgspec.json.encode(_SpentBefore(total)))
        return total

    def find(self, id: str, step: str, request: str) -> OutputLine | None:
        """The line of an answer from an earlier session, or one that was noted; None if there is none.

        Args:
            id: The id of the row.
            step: The name of the step.
            request: The digest of the request.
        """
        offset = self._offsets.get(_key(id, step, request))
        if offset is None:
            return None
        self._reader.seek(int.from_bytes(offset))
        try:
            line = decode_line(self._reader.readline())
        except NOT_JSON:
            return None
        notes = line.headrace  # the table finds a line by a short hash of its key
        return line if (line.custom_id, notes.step, notes.request) == (id, step, request) else None

    def append(self, lines: bytes) -> None:
        """Write lines; afterwards they survive a crash of this process.

        Raises:
            JournalError: Not all lines could be written; see `LineFile.append`.
        """

        def count(written: int) -> int:
            self._lines += written
            return self._lines

        self._file.append(lines, count)

    async def sync(self) -> None:
        """Sync the written lines to the disk, so that they survive a crash of the machine.

        Raises:
            JournalError: The file was deleted, moved, replaced or changed by another program, or the disk
                reports an error.
        """
        self._file.check_in_place()
        await self._file.sync()


def _key(id: str, step: str, request: str) -> str:
    return f"{request} {step} {id}"
