"""The runs that the page shows: which files they are, and how their indexes keep up with them."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import msgspec

from headrace import InputError
from headrace.bulk import decode_line, open_regular
from headrace_view.index import IndexBuilder, IndexPlace
from headrace_view.sidecar import sidecar_of

_FIRST_LINE = 1 << 26
_MOST_OPEN = 32
"""Indexes that are open at once; each takes four file descriptors."""

_LAST = 1e-9
"""When a run was asked for that is only counted: before all others."""

_TABLES = (".csv", ".parquet")
"""The outputs of runs whose lines are in a file beside them."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ViewedRun:
    """One run of the page.

    Args:
        number: Its number in the page.
        journal: Its output.

        name: What the page calls it.
    """

    def __init__(self, number: int, journal: Path, name: str) -> None:
        self.number = number
        self.journal = journal
        self.name = name
        self.asked_at: float = 0.0
        self.used_at: float = 0.0
        self.opening: threading.Lock = threading.Lock()
        self.is_open: bool = False
        self._read: tuple[int, ...] | None = None

    @functools.cached_property
    def builder(self) -> IndexBuilder:
        """Its index, which `Runs.step` continues; a run that nobody looks at has none."""
        return IndexBuilder(self.journal, IndexPlace(self.journal))

    @functools.cached_property
    def sidecar(self) -> str:
        """The sidecar of its run, which the run has locked."""
        return str(sidecar_of(self.shard_of or self.journal))

    @property
    def place(self) -> IndexPlace:
        """Where its index is."""
        return self.builder.place

    @property
    def is_known(self) -> bool:
        """Whether its index was opened, so that its totals are known."""
        return "builder" in self.__dict__

    @functools.cached_property
    def shard_of(self) -> Path | None:
        """The output that this is a shard of, which is a folder; None if it is a whole output."""
        return _shard_of(self.journal)

    @property
    def size(self) -> int:
        """The bytes of the output when it was read last, or of one that waits for that now."""
        with suppress(OSError):
            return (self.is_known and self.builder.size) or self.journal.stat().st_size
        return 0

    @property
    def modified(self) -> float | None:
        """When the output was changed, by the clock of `time.time`; None without an output."""
        with suppress(OSError):
            return self.journal.stat().st_mtime
        return None

    @property
    def is_torn(self) -> bool:
        """Whether the output ended within a line when it was read last."""
        return self.is_known and self.builder.is_whole and self.builder.size > self.builder.indexed

    @property
    def lock(self) -> int | None:
        """The descriptor of the lock of its index; None without one."""
        return self.place.lock if self.is_open else None

    def open(self) -> None:
        """Open the index; its lock must be held."""
        if not self.is_open:
            if self.is_known:
                before, self.builder.place = self.place.database, IndexPlace(self.journal)
                if self.place.database != before or not before.exists():  # taken by another, or deleted
                    self.builder.version += 1
                    self._read = None
            self.builder.open()
            self.is_open = True

    def step(self) -> bool:
        """Index the next lines, if the output has changed; returns whether there were any."""
        found = self._signature()
        if found == self._read and not self.builder.error and not self.builder.is_lost:
            return False
        with self.opening:
            self.open()
            more = self.builder.step()
        if more:
            self.used_at = time.monotonic()
        elif self.builder.is_whole:
            self._read = found
        return more

    def _signature(self) -> tuple[int, ...] | None:
        """What tells whether the output has changed since it was read to its end."""
        with suppress(OSError):
            found = self.journal.stat()
            return found.st_mtime_ns, found.st_size, found.st_ino
        return None

    def close(self) -> None:
        """Close the index; its totals stay known, and it can be opened again."""
        with self.opening:
            if self.is_open:
                self.builder.close()
                self.place.close()
                self.is_open = False


class Runs:
    """All runs of the page; a folder may get further ones.

    Args:
        paths: Outputs of runs, also tables, and folders with outputs.

    Raises:
        InputError: A path does not exist or is not the output of a run, or a folder has none.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._folders = [Path(path) for path in paths if os.path.isdir(path)]
        self._seen: set[Path] = set()
        self._known: set[Path] = set()
        self.all: list[ViewedRun] = []
        self._lock = threading.Lock()
        for path in map(Path, paths):
            if path not in self._folders:
                lines = Path(f"{path}.jsonl")
                lines = lines if path.suffix in _TABLES and lines.exists() else path
                check_output(lines)
                self._add(lines, path.name)
        self.look_for_more()
        if not self.all:
            raise InputError(f"{self._folders[0]}: has no output of a run; name the --out of a headrace run")

    def look_for_more(self) -> None:
        """Add the outputs that the folders have now, the newest first."""
        for folder in self._folders:
            new = sorted(path for path in folder.glob("*.jsonl") if path not in self._known)
            found = [path for path in new if _is_output(path)]
            for path in sorted(found, key=lambda path: -path.stat().st_mtime):
                self._add(path, path.name if len(self._folders) == 1 else str(path))

    def _add(self, path: Path, name: str) -> None:
        real = path.resolve()
        self._known.add(path)
        if real not in self._seen:
            self._seen.add(real)
            self.all.append(ViewedRun(len(self.all), path, name))

    @property
    def whole(self) -> Path | None:
        """The output that all runs are shards of; None if they are not."""
        outputs = {run.shard_of for run in self.all}
        return outputs.pop() if len(outputs) == 1 else None

    def get(self, number: int) -> ViewedRun | None:
        """The run with a number; it has an index from now on, which is continued before the others.

        The first call indexes the first lines, so that there are rows to show at once.
        """
        if not 0 <= number < len(self.all):
            return None
        run = self.all[number]
        if not run.is_open:
            with run.opening:
                run.asked_at = time.monotonic()
                run.open()
                if not run.builder.indexed:
                    run.builder.step()
        run.asked_at = time.monotonic()
        return run

    def ask_for_all(self) -> list[ViewedRun]:
        """All runs, which have indexes from now on, continued after those that someone looks at."""
        self.look_for_more()
        for run in self.all:
            run.asked_at = run.asked_at or _LAST
        return list(self.all)

    def step(self) -> bool:
        """Open an index that is not known yet, or index the next lines of the run that was asked for last.

        Only so many indexes stay open: those that were used last.

        Returns:
            Whether there may be more to do at once.
        """
        with self._lock:
            asked = sorted((run for run in self.all if run.asked_at), key=lambda run: -run.asked_at)
            unknown = next((run for run in asked if not run.is_known), None)
            if unknown is None:
                more = any(self._step(run) for run in asked)
            else:
                with unknown.opening:
                    unknown.open()
                more = True
            self._close_some()
            return more

    def _step(self, run: ViewedRun) -> bool:
        was_open, more = run.is_open, run.step()
        if not was_open and run.is_open:
            self._close_some()
        return more

    def _close_some(self) -> None:
        opened = [run for run in self.all if run.is_open]
        if len(opened) > _MOST_OPEN:
            opened.sort(key=lambda run: max(run.asked_at, run.used_at))
            for run in opened[:-_MOST_OPEN]:
                run.close()

    def close(self) -> None:
        """Close all indexes."""
        with self._lock:
            for run in self.all:
                run.close()


def check_output(path: Path) -> None:
    """Check that a file is the output of a run, or may become one.

    Raises:
        InputError: It does not exist, or holds something else.
    """
    try:
        with open_regular(path) as file:
            first = file.readline(_FIRST_LINE)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name the --out of a headrace run") from None
    if first.endswith(b"\n") and not _is_output_line(first):
        raise InputError(f"{path}: is not the output of a run; name the --out of a headrace run")


def _is_output(path: Path) -> bool:
    """Whether a file of a folder is the output of a run; an empty one needs a sidecar."""
    try:
        with open_regular(path) as file:
            first = file.readline(_FIRST_LINE)
    except OSError:
        return False
    if first:
        return _is_output_line(first)
    return sidecar_of(path).exists() or _shard_of(path) is not None


def _shard_of(path: Path) -> Path | None:
    """The folder that is the output of a run on Ray, if a file is a shard of it."""
    is_shard = fnmatch(path.name, "shard-*.jsonl") and sidecar_of(path.parent).exists()
    return path.parent if is_shard else None


def _is_output_line(raw: bytes) -> bool:
    try:
        decode_line(raw)
    except _UNREADABLE:
        return False
    return True
