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
from headrace.bulk import decode_line
from headrace_view.index import IndexBuilder, IndexPlace

_FIRST_LINE = 1 << 26
_GROWING = 15.0
"""Seconds since the output grew, within which its run counts as alive."""

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
        self.opening: threading.Lock = threading.Lock()

    @functools.cached_property
    def place(self) -> IndexPlace:
        """Where its index is; a run that nobody looks at has none."""
        return IndexPlace(self.journal)

    @functools.cached_property
    def builder(self) -> IndexBuilder:
        """Its index, which `Runs.step` continues."""
        return IndexBuilder(self.journal, self.place)

    @functools.cached_property
    def shard_of(self) -> Path | None:
        """The output that this is a shard of, which is a folder; None if it is a whole output."""
        return _shard_of(self.journal)

    @property
    def size(self) -> int:
        """The bytes of the output when it was read last, or of one that waits for that now."""
        with suppress(OSError):
            return self.builder.size or self.journal.stat().st_size
        return 0

    def is_growing(self, now: float) -> bool:
        """Whether the output has grown within the last seconds, by the clock of `time.time`."""
        try:
            return now - self.journal.stat().st_mtime < _GROWING
        except OSError:
            return False

    def close(self) -> None:
        """Close the index."""
        if self.asked_at:
            self.builder.close()
            self.place.close()


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
            found = [path for path in sorted(folder.glob("*.jsonl")) if path.resolve() not in self._seen]
            found = [path for path in found if _is_output(path)]
            for path in sorted(found, key=lambda path: -path.stat().st_mtime):
                self._add(path, path.name if len(self._folders) == 1 else str(path))

    def _add(self, path: Path, name: str) -> None:
        real = path.resolve()
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
        with run.opening:
            if not run.asked_at:
                run.builder.open()
                run.builder.step()
            run.asked_at = time.monotonic()
        return run

    def open_all(self) -> list[ViewedRun]:
        """All runs, which have indexes from now on, continued after those that someone looks at."""
        self.look_for_more()
        for run in self.all:
            with run.opening:
                if not run.asked_at:
                    run.builder.open()
                    run.asked_at = _LAST
        return list(self.all)

    def step(self) -> bool:
        """Index the next lines of the run that was asked for last, then of others that were asked for.

        Returns:
            Whether there may be more to do at once.
        """
        with self._lock:
            asked = sorted((run for run in self.all if run.asked_at), key=lambda run: -run.asked_at)
            return any(run.builder.step() for run in asked)

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
        with path.open("rb") as file:
            first = file.readline(_FIRST_LINE)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name the --out of a headrace run") from None
    if first.endswith(b"\n") and not _is_output_line(first):
        raise InputError(f"{path}: is not the output of a run; name the --out of a headrace run")


def _is_output(path: Path) -> bool:
    """Whether a file of a folder is the output of a run; an empty one needs a sidecar."""
    try:
        with path.open("rb") as file:
            first = file.readline(_FIRST_LINE)
    except OSError:
        return False
    if first:
        return _is_output_line(first)
    return Path(f"{os.path.realpath(path)}.journal").exists() or _shard_of(path) is not None


def _shard_of(path: Path) -> Path | None:
    """The folder that is the output of a run on Ray, if a file is a shard of it."""
    is_shard = fnmatch(path.name, "shard-*.jsonl") and (path.parent / "run.journal").exists()
    return path.parent if is_shard else None


def _is_output_line(raw: bytes) -> bool:
    try:
        decode_line(raw)
    except _UNREADABLE:
        return False
    return True
