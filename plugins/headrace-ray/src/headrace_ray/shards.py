"""The shards of an output: files of lines, each appended to by one actor for all of its life.

A shard is locked by its actor. So one without a lock is nobody's any more, and what stands in it is done:
nothing else needs to be told when an actor dies. Its last line may be torn then; that one is not done.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import msgspec
import numpy

from headrace.bulk.appending import LineFile
from headrace.bulk.records import Line
from headrace.errors import JournalError
from headrace_ray.blocks import index_of, key_of
from headrace_ray.done import Array, Keys

PATTERN = "shard-*.jsonl"

_RELEASE_LIMIT = 60.0
"""Seconds in which the actors of a run that was killed have to end."""

KeyOf = Callable[["DoneLine"], int]


class DoneLine(Line, kw_only=True):
    """What is read back of a shard's line."""

    custom_id: str


_decode = msgspec.json.Decoder(DoneLine).decode


def by_place(line: DoneLine) -> int:
    """The key of a line where keys are places in the input."""
    if line.index is None:
        raise ValueError(f"the id {line.id!r} is none that headrace gives")
    return line.index


def by_id(line: DoneLine) -> int:
    """The key of a line where keys are made of ids."""
    return key_of(line.custom_id)


@attrs.frozen(eq=False)
class Content:
    """What is in a shard: the keys of its items, which of them failed, and whether its end is torn."""

    keys: Array
    failed: Array
    torn: bool = False

    def per_key(self) -> dict[int, bool]:
        """By the index of each item, whether it failed."""
        return {index_of(int(key)): bool(failed) for key, failed in zip(self.keys, self.failed, strict=True)}


def lines(path: Path) -> Iterator[tuple[bytes, DoneLine | None]]:
    """The lines of a shard, None for a torn last one; raises `JournalError` for one that is damaged."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                yield raw, None
                return
            try:
                yield raw, _decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise JournalError(f"{path}:{number}: damaged: {error}; repair or remove that line") from None


def read(path: Path, key: KeyOf) -> Content:
    """What is in a shard."""
    keys, failed, torn = [], [], False
    for _, line in lines(path):
        if line is None:
            torn = True
        else:
            keys.append(key(line))
            failed.append(line.failed)
    return Content(numpy.array(keys, numpy.uint64), numpy.array(failed, bool), torn)


def rewrite(path: Path, keep: Callable[[DoneLine], bool]) -> None:
    """Take lines out, a torn one with them, in one step: a crash leaves the old shard or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        os.chmod(fresh, 0o600)
        for raw, line in lines(path):
            if line is not None and keep(line):
                file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def is_free(path: Path) -> bool:
    """True where no actor has the shard any more."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_for_release(out: Path) -> list[Path]:
    """All shards, once nobody writes to one; raises `JournalError` where somebody goes on doing so."""
    shards, until = sorted(out.glob(PATTERN)), time.monotonic() + _RELEASE_LIMIT
    for shard in shards:
        while not is_free(shard):
            if time.monotonic() > until:
                raise JournalError(
                    f"{shard}: an actor of an earlier run is still writing to it; end that run's job"
                )
            time.sleep(0.1)
    return shards


class OwnShard:
    """The shard of one actor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = LineFile(path)
        fcntl.flock(self.lines.fileno(), fcntl.LOCK_EX)
        self.done = 0

    def append(self, lines: bytes) -> None:
        """Write lines; see `LineFile.append`."""
        self.lines.append(lines, self._count)

    def _count(self, whole: int) -> int:
        self.done += whole
        return self.done


@attrs.define(eq=False)
class LeftBehind:
    """What actors of this session left behind that are no more; ``own`` is the shard of who looks."""

    own: Path
    session: str
    key: KeyOf
    _seen: set[str] = attrs.field(factory=set)
    _found: list[Content] = attrs.field(factory=list)
    _keys: Keys = attrs.field(factory=lambda: Keys.of([]))
    fruitless: int = 0

    def look(self) -> None:
        """Look for shards that have become free, and read them."""
        for shard in self.own.parent.glob(f"shard-{self.session}-*.jsonl"):
            if shard == self.own or shard.name in self._seen or not is_free(shard):
                continue
            self._seen.add(shard.name)
            content = read(shard, self.key)
            self.fruitless += not len(content.keys)
            self._found.append(content)
            self._keys = Keys.of(each.keys for each in self._found)

    def among(self, keys: Array) -> dict[int, bool]:
        """Those of these items that are done there, by index, and whether they failed."""
        if not self._keys.has(keys).any():
            return {}
        done: dict[int, bool] = {}
        for content in self._found:
            mask = numpy.isin(content.keys, keys)
            done |= Content(content.keys[mask], content.failed[mask]).per_key()
        return done
