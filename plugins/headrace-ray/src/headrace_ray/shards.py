"""The shards of an output folder: line files, each written by one actor.

An actor locks its shard before the shard gets its name. So a shard without a lock belongs to no running
actor, and its lines are the finished items of a dead one. Its last line may be torn; that item is not done.

A process that takes over the work of another process waits for its lock, because Ray may consider an actor
dead, or a job finished, before its process has ended.
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
from headrace_ray.key_sets import Array, SortedKeys

PATTERN = "shard-*.jsonl"

_RELEASE_LIMIT = 120.0
"""Seconds to wait for the process of an ended actor; a file server keeps a dead machine's locks for 90."""

_NOTICE_DELAY = 2.0

KeyOf = Callable[["DoneLine"], int]


class DoneLine(JournalEntry, kw_only=True):
    """What is read back from a line of a shard."""

    custom_id: str


_decode = msgspec.json.Decoder(DoneLine).decode


def key_by_index(line: DoneLine) -> int:
    """Return the key of a line if keys are indexes of the input."""
    if line.index is None:
        raise ValueError(f"the id {line.id!r} is not one of headrace's")
    return line.index


def key_by_id(line: DoneLine) -> int:
    """Return the key of a line if keys are hashes of ids."""
    return key_of(line.custom_id)


@attrs.frozen(eq=False)
class ShardContent:
    """The content of a shard.

    Attributes:
        keys: The keys of its items.
        failed: Which of them failed.
        torn: Whether its last line is torn.
        spent: What the items cost in USD.
        spent_on_failed: What the failed items cost.
    """

    keys: Array
    failed: Array
    torn: bool = False
    spent: Decimal = Decimal(0)
    spent_on_failed: Decimal = Decimal(0)

    def find(self, keys: Array) -> dict[int, bool]:
        """Return which of these items are done in this shard: whether they failed, by index."""
        mask = numpy.isin(self.keys, keys)
        found = zip(self.keys[mask], self.failed[mask], strict=True)
        return {index_of(int(key)): bool(failed) for key, failed in found}


def read_lines(path: Path) -> Iterator[tuple[bytes, DoneLine | None]]:
    """Yield the lines of a shard, None for a torn last line; raise `JournalError` for a damaged line."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                yield raw, None
                return
            try:
                yield raw, _decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise JournalError(f"{path}:{number}: damaged: {error}; repair or remove that line") from None


def read_shard(path: Path, key: KeyOf) -> ShardContent:
    """Return the content of a shard."""
    keys, failed, torn = [], [], False
    spent = {False: Decimal(0), True: Decimal(0)}
    for _, line in read_lines(path):
        if line is None:
            torn = True
        else:
            keys.append(key(line))
            failed.append(line.failed)
            spent[line.failed] += line.spent
    arrays = numpy.array(keys, numpy.uint64), numpy.array(failed, bool)
    return ShardContent(*arrays, torn, spent[True] + spent[False], spent[True])


def rewrite(path: Path, keep: Callable[[DoneLine], bool]) -> None:
    """Remove lines, also a torn one, atomically: a crash leaves the old or the new shard."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        os.chmod(temporary, 0o600)
        for raw, line in read_lines(path):
            if line is not None and keep(line):
                file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def is_free(path: Path) -> bool:
    """Return whether no actor holds the shard."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until_free(shards: Iterable[Path], limit: float) -> None:
    """Wait until no actor holds these shards, or so many seconds."""
    end = time.monotonic() + limit
    for shard in shards:
        while not is_free(shard) and time.monotonic() < end:
            time.sleep(0.1)


def wait_for_release(shards: Iterable[Path]) -> None:
    """Wait until no actor holds these shards; raise `JournalError` if one does not end."""
    begun, notified = time.monotonic(), False
    for shard in shards:
        while not is_free(shard):
            waited = time.monotonic() - begun
            if waited > _RELEASE_LIMIT:
                raise JournalError(
                    f"{shard}: an actor that should have ended still holds it; end its process, or its job "
                    "in Ray, and run the same command again"
                )
            if waited > _NOTICE_DELAY and not notified:
                notified = True
                print(f"Waiting for an earlier actor to end: it still holds {shard.name}.", file=sys.stderr)
            time.sleep(0.1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a shard as its actor would; raise `JournalError` if another process holds it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path}: another process holds it; run the same command again") from None
        yield


class ActorShard:
    """The shard of one actor; ``actor`` is its id, which stays the same after a restart."""

    def __init__(self, out: Path, session: str, actor: str) -> None:
        self._prefix = f"shard-{session}-{actor}-"
        self.path = out / f"{self._prefix}{secrets.token_hex(4)}.jsonl"
        temporary = out / f".{self.path.name}.new"
        self.lines = LineFile(temporary)
        fcntl.flock(self.lines.fileno(), fcntl.LOCK_EX)
        os.rename(temporary, self.path)  # so no process sees it without its lock
        self.lines.path = self.path
        self.done = 0

    def wait_for_predecessors(self) -> None:
        """Wait until earlier processes of this actor have ended; raise `JournalError` if one does not end."""
        found = self.path.parent.glob(f"{self._prefix}*.jsonl")
        wait_for_release(shard for shard in found if shard != self.path)

    def append(self, lines: bytes) -> None:
        """Write lines; see `LineFile.append`."""
        self.lines.append(lines, self._count)

    def _count(self, whole: int) -> int:
        """Count whole lines; return all of this actor."""
        self.done += whole
        return self.done


@attrs.define(eq=False)
class AbandonedShards:
    """The shards of dead actors of this session; ``own`` is the shard of the actor that reads them."""

    own: Path
    session: str
    key: KeyOf
    _seen: set[str] = attrs.field(factory=set)
    _found: list[ShardContent] = attrs.field(factory=list)
    _keys: SortedKeys = attrs.field(factory=lambda: SortedKeys.of([]))
    empty_restarts: int = 0

    def scan(self) -> None:
        """Find shards of actors that have died, and read them."""
        for shard in self.own.parent.glob(f"shard-{self.session}-*.jsonl"):
            if shard == self.own or shard.name in self._seen or not is_free(shard):
                continue
            self._seen.add(shard.name)
            content = read_shard(shard, self.key)
            self.empty_restarts += not len(content.keys)
            self._found.append(content)
            self._keys = SortedKeys.of(each.keys for each in self._found)

    def find(self, keys: Array) -> dict[int, bool]:
        """Return which of these items are done in these shards: whether they failed, by index."""
        if not self._keys.contains(keys).any():
            return {}
        done: dict[int, bool] = {}
        for content in self._found:
            done |= content.find(keys)
        return done
