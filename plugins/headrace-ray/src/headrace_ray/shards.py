"""The shards of an output: files of lines, each appended to by one actor for all of its life.

A shard is locked by its actor, from before it has its name. So one without a lock is nobody's any more, and
what stands in it is done: nothing else needs to be told when an actor dies. Its last line may be torn then;
that one is not done.

Who is to do what another process was given waits for that one's lock: Ray holds an actor for dead, or a
command's job for over, before its process has ended.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import attrs
import msgspec
import numpy

from headrace import JournalError
from headrace.bulk import JournalEntry, LineFile
from headrace_ray.blocks import index_of, key_of
from headrace_ray.done import Array, Keys

PATTERN = "shard-*.jsonl"

_RELEASE_LIMIT = 120.0
"""Seconds in which the process of an actor that is to be no more has to end: a file server keeps the locks of
a machine that died for 90."""

_SAY_AFTER = 2.0

KeyOf = Callable[["DoneLine"], int]


class DoneLine(JournalEntry, kw_only=True):
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
    """What is in a shard: the keys of its items, which of them failed, and whether its end is torn.

    ``spent`` is what the items cost in USD, ``spent_on_failed`` a part of it.
    """

    keys: Array
    failed: Array
    torn: bool = False
    spent: Decimal = Decimal(0)
    spent_on_failed: Decimal = Decimal(0)

    def among(self, keys: Array) -> dict[int, bool]:
        """Those of these items that are done here, by index, and whether they failed."""
        mask = numpy.isin(self.keys, keys)
        found = zip(self.keys[mask], self.failed[mask], strict=True)
        return {index_of(int(key)): bool(failed) for key, failed in found}


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
    spent = {False: Decimal(0), True: Decimal(0)}
    for _, line in lines(path):
        if line is None:
            torn = True
        else:
            keys.append(key(line))
            failed.append(line.failed)
            spent[line.failed] += line.spent
    arrays = numpy.array(keys, numpy.uint64), numpy.array(failed, bool)
    return Content(*arrays, torn, spent[True] + spent[False], spent[True])


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


def wait_for_release(shards: Iterable[Path]) -> None:
    """Wait until nobody writes to one of these; raises `JournalError` where somebody goes on doing so."""
    begun, said = time.monotonic(), False
    for shard in shards:
        while not is_free(shard):
            waited = time.monotonic() - begun
            if waited > _RELEASE_LIMIT:
                raise JournalError(
                    f"{shard}: an actor that should have ended still has it; end its process, or the job "
                    "in Ray that it belongs to, and run the same command again"
                )
            if waited > _SAY_AFTER and not said:
                said = True
                print(f"Waiting for an earlier actor to end: it still has {shard.name}.", file=sys.stderr)
            time.sleep(0.1)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a shard as its actor would; raises `JournalError` where somebody has it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path}: another process has it; run the same command again") from None
        yield


class OwnShard:
    """The shard of one actor; ``actor`` tells this one from others and stays when it is started again."""

    def __init__(self, out: Path, session: str, actor: str) -> None:
        self._own = f"shard-{session}-{actor}-"
        self.path = out / f"{self._own}{secrets.token_hex(4)}.jsonl"
        fresh = out / f".{self.path.name}.new"
        self.lines = LineFile(fresh)
        fcntl.flock(self.lines.fileno(), fcntl.LOCK_EX)
        os.rename(fresh, self.path)  # nobody sees it without its lock
        self.lines.path = self.path
        self.done = 0

    def wait_for_predecessors(self) -> None:
        """Wait until earlier processes of this actor have ended; raises `JournalError` where one does not."""
        found = self.path.parent.glob(f"{self._own}*.jsonl")
        wait_for_release(shard for shard in found if shard != self.path)

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
            done |= content.among(keys)
        return done
