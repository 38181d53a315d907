"""The journal of a bulk run: its output file, and a locked sidecar that identifies the run.

One line per item is appended to `OUT` before the item counts as done. `OUT.journal`, the sidecar, holds the
run's fingerprint and is locked by the process of the run. After a crash, the output may end in a torn line:
it is removed and its item is sent again. Any other foreign line is reported as damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.dropped_cost import dropped_cost, record_dropped_cost
from headrace.bulk.line_file import LineFile
from headrace.bulk.output_line import JournalEntry, decode_entry
from headrace.bulk.run_lock import lock_run
from headrace.errors import JournalError


class Journal:
    """The durable record of one run. A context manager that holds the run's lock.

    Entering reads the output and removes a torn line at its end.

    Args:
        out: The output file.
        fingerprint: Identifies the run.
        total: The number of items.
        limited: Whether the run sends only the first items of its input; lines of other items are kept but
            not counted.
        command: The command that begins the run, without secrets; the sidecar keeps it for reports.

    Attributes:
        done: The number of items that have a line.
        failed: The number of items whose line held an error when the journal was entered.
        spent: Cost in USD of the earlier sessions, including removed lines.

    Raises:
        JournalError: On entering: another process works on the run, the fingerprint differs (the message
            names the difference), or the output is damaged or cannot be written.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        total: int,
        limited: bool = False,
        command: str | None = None,
    ) -> None:
        self.path: Path = Path(out)
        self._sidecar = Path(f"{self.path}.journal")
        self._fingerprint = dict(fingerprint)
        self._total = total
        self._limited = limited
        self._command = command
        self._done = bytearray((total + 7) // 8)
        self._dropped = bytearray()
        self.done: int = 0
        self.failed: int = 0
        self.spent: Decimal = Decimal(0)

    def __enter__(self) -> Self:
        self._lock = self._acquire_lock()
        try:
            self.spent = dropped_cost(self._lock)
            for line in self._read():
                self.spent += line.spent
                index = line.index
                assert index is not None
                if index < self._total:
                    self._mark(index)
                    self.failed += line.failed
            self._file = LineFile(self.path)
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"{self.path}: {error.strerror}") from error
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        os.close(self._lock)

    def _acquire_lock(self) -> int:
        if self.path.is_dir():
            raise JournalError(f"{self.path}: is a directory; name a file in it")
        begun = self.path.exists() and self.path.stat().st_size > 0
        return lock_run(self.path, self._sidecar, self._fingerprint, begun=begun, command=self._command)

    def _read(self) -> Iterator[JournalEntry]:
        """The lines of the output; a torn line at its end is removed."""
        if not self.path.exists():
            return
        good = 0
        with self.path.open("r+b") as file:
            torn: str | None = None
            for number, raw in enumerate(file, 1):
                if torn is not None:
                    raise JournalError(f"{self.path}:{number - 1}: {torn}; repair or remove that line")
                torn, line = self._parse(raw)
                if line is not None:
                    good += len(raw)
                    yield line
            if torn is not None:
                file.truncate(good)
                file.flush()
                os.fsync(file.fileno())

    def _parse(self, raw: bytes) -> tuple[str | None, JournalEntry | None]:
        if not raw.endswith(b"\n"):
            return "torn", None
        try:
            line = decode_entry(raw)
        except NOT_JSON as error:
            return f"damaged: {error}", None
        index = line.index
        if index is None or (index >= self._total and not self._limited):
            return f"the id {line.id!r} belongs to no item of this run", None
        if index < self._total and self.is_done(index):
            return f"a second line for {line.id!r}", None
        return None, line

    def is_done(self, index: int) -> bool:
        """Whether the item at this position has a line."""
        return bool(self._done[index >> 3] & 1 << (index & 7))

    def was_failed(self, index: int) -> bool:
        """Whether the item at this position failed and `drop_failed` removed its line."""
        return bool(self._dropped) and bool(self._dropped[index >> 3] & 1 << (index & 7))

    def _mark(self, index: int) -> None:
        self._done[index >> 3] |= 1 << (index & 7)
        self.done += 1

    def drop_failed(self) -> int:
        """Remove the lines of failed items, so that they are sent again; returns their number.

        The output is replaced atomically: after a crash, it is the old file or the new one.

        Raises:
            JournalError: The new file cannot be written; the old one is unchanged.
        """
        if not self.failed:
            return 0
        before = self._done, self.done, self.failed
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            dropped = self._write_without_failed(fresh)
            # Before the rename: a crash in between counts these costs twice, but does not lose them.
            record_dropped_cost(self._lock, dropped_cost(self._lock) + dropped)
            os.replace(fresh, self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            self._done, self.done, self.failed = before
            self._dropped = bytearray()
            raise JournalError(
                f"{self.path}: {error.strerror}; its failed items are still in it, nothing was lost"
            ) from error
        self._file.close()
        self._file = LineFile(self.path)
        return before[2]

    def _write_without_failed(self, fresh: Path) -> Decimal:
        """Write the lines to keep; returns the cost of the others."""
        dropped = Decimal(0)
        self._done, self._dropped = bytearray(len(self._done)), bytearray(len(self._done))
        self.done = self.failed = 0
        with self.path.open("rb") as old, fresh.open("wb") as new:
            os.chmod(fresh, 0o600)
            for raw in old:
                line = decode_entry(raw)
                index = line.index
                assert index is not None
                if index < self._total:
                    if line.failed:
                        dropped += line.spent
                        self._dropped[index >> 3] |= 1 << (index & 7)
                        continue
                    self._mark(index)
                new.write(raw)
            new.flush()
            os.fsync(new.fileno())
        return dropped

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Write the lines of these items; afterwards they survive a crash of this process.

        Raises:
            JournalError: Not all lines could be written; see `LineFile.append`.
        """

        def count(written: int) -> int:
            for index in indexes[:written]:
                self._mark(index)
            return self.done

        self._file.append(lines, count)

    async def sync(self) -> None:
        """Sync the written lines to the disk, so that they survive a crash of the machine."""
        await self._file.sync()
