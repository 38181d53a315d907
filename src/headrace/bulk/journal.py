"""The journal of a bulk run: its output file, and beside it what the run is, under a lock.

`OUT` is appended to, one line an item, before an item counts as done. `OUT.journal` holds the run's
fingerprint and is locked by the process that works on it. After a crash the output may end in a torn line:
it is cut off and its item sent again. Anything else that is no line of ours is damage, and said.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
import msgspec

from headrace.bulk.records import Line, decode_line
from headrace.errors import JournalError
from headrace.requests import encode_json

_FORMAT = 1
_WORDS = {
    "input": "the input file",
    "prompt": "the prompt",
    "model": "the model",
    "choices": "the choices",
    "system": "the system message",
    "parameters": "the parameters",
    "answer": "what the answer is to be",
}


class Journal:
    """The durable record of one run; a context manager that holds its lock.

    ``fingerprint`` says what the run is; ``total`` how many items it has. Entering reads what is there
    and repairs a torn end. Where the input is ``limited`` to its first items, the lines of others are kept
    and not counted. Raises `JournalError` when another process works on it, when it belongs to a run whose
    fingerprint differs (naming what changed), when it is damaged or cannot be written.
    ``done`` counts the items that have a line, ``failed`` those whose line held an error at entering.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        total: int,
        limited: bool = False,
    ) -> None:
        self.path = Path(out)
        self._sidecar = self.path.with_name(self.path.name + ".journal")
        self._fingerprint = dict(fingerprint)
        self._total = total
        self._limited = limited
        self._done = bytearray((total + 7) // 8)
        self._dirty = False
        self.done = 0
        self.failed = 0

    def __enter__(self) -> Self:
        self._lock = self._claim()
        try:
            for line in self._read():
                index = line.index
                assert index is not None
                if index < self._total:
                    self._mark(index)
                    self.failed += line.failed
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
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
        os.close(self._file)
        os.close(self._lock)

    def _claim(self) -> int:
        """Open and lock the sidecar; write the fingerprint into a new one, compare it with an old one's."""
        if self.path.is_dir():
            raise JournalError(f"{self.path}: is a directory; name a file in it")
        try:
            lock = os.open(self._sidecar, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JournalError(f"{self.path}: another run is writing to it; wait for its end") from None
            written = os.pread(lock, 1 << 24, 0)
            if written.endswith(b"\n"):
                self._compare(written)
            elif self._has_output():
                raise JournalError(
                    f"{self.path}: exists, but {self._sidecar.name} does not say which run it belongs to; "
                    "name another --out, or move it away"
                )
            else:
                os.ftruncate(lock, 0)
                begun, at = encode_json({"headrace": _FORMAT, **self._fingerprint}) + b"\n", 0
                while at < len(begun):  # where room is short, the first write takes what there is
                    at += os.pwrite(lock, begun[at:], at)
                os.fsync(lock)
        except OSError as error:
            os.close(lock)
            raise JournalError(f"{self._sidecar}: cannot be written: {error.strerror}") from error
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _has_output(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def _compare(self, written: bytes) -> None:
        try:
            old = msgspec.json.decode(written)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JournalError(f"{self._sidecar}: damaged: {error}") from None
        if not isinstance(old, dict) or old.get("headrace") != _FORMAT:
            raise JournalError(f"{self._sidecar}: not a journal of this version of headrace")
        for key, value in self._fingerprint.items():
            if old.get(key) != value:
                was = "" if key == "input" else f" (was {old.get(key)!r}, is {value!r})"
                raise JournalError(
                    f"{self.path}: {_WORDS.get(key, key)} changed since this journal began{was}; "
                    "put it back to resume, or name another --out"
                )

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
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
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

    def _mark(self, index: int) -> None:
        self._done[index >> 3] |= 1 << (index & 7)
        self.done += 1

    def forget_failed(self) -> int:
        """Take the lines of failed items out, so that they are sent again; returns their number.

        The output is replaced in one step: a crash leaves the old one or the new one, and so does a disk
        without room for it, a `JournalError`.
        """
        if not self.failed:
            return 0
        forgotten = self.failed
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            self._write_without_failed(fresh)
            os.replace(fresh, self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise JournalError(
                f"{self.path}: {error.strerror}; its {forgotten} failed items are still in it"
            ) from error
        os.close(self._file)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        return forgotten

    def _write_without_failed(self, fresh: Path) -> None:
        self._done = bytearray(len(self._done))
        self.done = self.failed = 0
        with self.path.open("rb") as old, fresh.open("wb") as new:
            os.chmod(fresh, 0o600)
            for raw in old:
                line = decode_line(raw)
                index = line.index
                assert index is not None
                if index < self._total:
                    if line.failed:
                        continue
                    self._mark(index)
                new.write(raw)
            new.flush()
            os.fsync(new.fileno())

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Write the lines of these items; they survive the death of this process once it returns.

        Where that fails, those that are whole count, and the half of one is taken off again: nothing that is
        written later may stand behind it.
        """
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            written = len(lines) - len(rest)
            whole = lines.rfind(b"\n", 0, written) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, os.fstat(self._file).st_size - (written - whole))
            for index in indexes[: lines.count(b"\n", 0, whole)]:
                self._mark(index)
            self._dirty = True
            raise JournalError(
                f"{self.path}: {error.strerror}; {self.done} items are safe there, "
                "run the same command again when there is room"
            ) from error
        for index in indexes:
            self._mark(index)
        self._dirty = True

    async def sync(self) -> None:
        """Force what was written onto the disk, where it survives the death of the machine."""
        if self._dirty:
            self._dirty = False
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._fsync)

    def _fsync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}; the last lines may not be on the disk"
            ) from error
