"""The journal of a bulk run: its output file, and beside it what the run is, under a lock.

`OUT` is appended to, one line an item, before an item counts as done. `OUT.journal` holds the run's
fingerprint and is locked by the process that works on it. After a crash the output may end in a torn line:
it is cut off and its item sent again. Anything else that is no line of ours is damage, and said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.appending import LineFile
from headrace.bulk.claim import lock_run
from headrace.bulk.dropped import note_dropped, spent_on_dropped
from headrace.bulk.records import Line, decode_line
from headrace.errors import JournalError


class Journal:
    """The durable record of one run; a context manager that holds its lock.

    ``fingerprint`` says what the run is; ``total`` how many items it has. Entering reads what is there
    and repairs a torn end. Where the input is ``limited`` to its first items, the lines of others are kept
    and not counted. Raises `JournalError` when another process works on it, when it belongs to a run whose
    fingerprint differs (naming what changed), when it is damaged or cannot be written.
    ``done`` counts the items that have a line, ``failed`` those whose line held an error at entering, and
    ``spent`` is what the run had cost by then, in USD, also for lines that were taken out.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        total: int,
        limited: bool = False,
    ) -> None:
        self.path: Path = Path(out)
        self._sidecar = self.path.with_name(self.path.name + ".journal")
        self._fingerprint = dict(fingerprint)
        self._total = total
        self._limited = limited
        self._done = bytearray((total + 7) // 8)
        self._forgotten = bytearray()
        self.done: int = 0
        self.failed: int = 0
        self.spent: Decimal = Decimal(0)

    def __enter__(self) -> Self:
        self._lock = self._claim()
        try:
            self.spent = spent_on_dropped(self._lock)
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

    def _claim(self) -> int:
        if self.path.is_dir():
            raise JournalError(f"{self.path}: is a directory; name a file in it")
        begun = self.path.exists() and self.path.stat().st_size > 0
        return lock_run(self.path, self._sidecar, self._fingerprint, begun=begun)

    def _read(self) -> Iterator[Line]:
        """The lines that are there; a torn last one is cut off."""
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

    def _parse(self, raw: bytes) -> tuple[str | None, Line | None]:
        if not raw.endswith(b"\n"):
            return "torn", None
        try:
            line = decode_line(raw)
        except NOT_JSON as error:
            return f"damaged: {error}", None
        index = line.index
        if index is None or (index >= self._total and not self._limited):
            return f"the id {line.id!r} belongs to no item of this run", None
        if index < self._total and self.is_done(index):
            return f"a second line for {line.id!r}", None
        return None, line

    def is_done(self, index: int) -> bool:
        """True where the item at this place has its line."""
        return bool(self._done[index >> 3] & 1 << (index & 7))

    def was_failed(self, index: int) -> bool:
        """True where the item at this place failed, and is sent again since `forget_failed`."""
        return bool(self._forgotten) and bool(self._forgotten[index >> 3] & 1 << (index & 7))

    def _mark(self, index: int) -> None:
        self._done[index >> 3] |= 1 << (index & 7)
        self.done += 1

    def forget_failed(self) -> int:
        """Take the lines of failed items out, so that they are sent again; returns their number.

        The output is replaced in one step: a crash leaves the old one or the new one. Raises `JournalError`
        where the new one cannot be written; the old one is as it was.
        """
        if not self.failed:
            return 0
        before = self._done, self.done, self.failed
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            dropped = self._write_without_failed(fresh)
            # First, so that a crash in between counts these twice and not never.
            note_dropped(self._lock, spent_on_dropped(self._lock) + dropped)
            os.replace(fresh, self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            self._done, self.done, self.failed = before
            self._forgotten = bytearray()
            raise JournalError(
                f"{self.path}: {error.strerror}; its failed items are still in it, nothing was lost"
            ) from error
        self._file.close()
        self._file = LineFile(self.path)
        return before[2]

    def _write_without_failed(self, fresh: Path) -> Decimal:
        """Write what is to stay; returns what the other lines had cost."""
        dropped = Decimal(0)
        self._done, self._forgotten = bytearray(len(self._done)), bytearray(len(self._done))
        self.done = self.failed = 0
        with self.path.open("rb") as old, fresh.open("wb") as new:
            os.chmod(fresh, 0o600)
            for raw in old:
                line = decode_line(raw)
                index = line.index
                assert index is not None
                if index < self._total:
                    if line.failed:
                        dropped += line.spent
                        self._forgotten[index >> 3] |= 1 << (index & 7)
                        continue
                    self._mark(index)
                new.write(raw)
            new.flush()
            os.fsync(new.fileno())
        return dropped

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Write the lines of these items; they survive the death of this process once it returns.

        Raises `JournalError` where not all can be written; see `LineFile.append`.
        """

        def count(whole: int) -> int:
            for index in indexes[:whole]:
                self._mark(index)
            return self.done

        self._file.append(lines, count)

    async def sync(self) -> None:
        """Force what was written onto the disk, where it survives the death of the machine."""
        await self._file.sync()
