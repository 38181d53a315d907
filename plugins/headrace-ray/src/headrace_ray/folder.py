"""The folder of an output: claimed for a session, its shards read and mended, by tasks of Ray."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import ray

from headrace import HeadraceError, JournalError
from headrace.bulk import dropped_cost, lock_run, record_dropped_cost
from headrace.plugins import SPENT_BEFORE
from headrace_ray import shards
from headrace_ray.done import Array
from headrace_ray.shards import Content, KeyOf
from headrace_ray.stop import Stop

SIDECAR = "run.journal"
T = TypeVar("T")


class Folder:
    """The output folder of one session; a context manager that holds its lock.

    Entering mends what a crash left behind. ``keys`` are those of the items done, and ``failed`` those of
    the items among them that failed. With ``retry_failed`` their lines are taken out. Raises `JournalError`
    as a journal does: another run's, in use, or damaged.
    """

    def __init__(self, out: str, fingerprint: Mapping[str, Any], key: KeyOf, *, retry_failed: bool) -> None:
        self.path = Path(out).absolute()
        self._fingerprint = fingerprint
        self._key = key
        self._retry_failed = retry_failed
        self.session = secrets.token_hex(4)
        self.stop = Stop(self.path, self.session)

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be a folder of shards: {error.strerror}") from error
        begun = next(self.path.glob(shards.PATTERN), None) is not None
        self._lock = lock_run(self.path, self.path / SIDECAR, self._fingerprint, begun=begun)
        try:
            self._end_earlier_sessions()
            self.stop.shared.mkdir()
            found = sorted(self.path.glob(shards.PATTERN))
            shards.wait_for_release(found)
            self._clear(found)
            arguments = [(shard, self._key, self._retry_failed, self.stop) for shard in found]
            contents = on_ray(_read_and_mend, arguments)
            self._note_spent(contents)
        except BaseException:
            self._end(self.stop.shared)
            os.close(self._lock)
            raise
        self.keys: list[Array] = [each.keys for each in contents]
        self.failed: list[Array] = [each.keys[each.failed] for each in contents]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for shard in self.path.glob(f"shard-{self.session}-*.jsonl"):
            if not shard.stat().st_size and shards.is_free(shard):
                shard.unlink()
        self._end(self.stop.shared)
        self.stop.clear()
        os.close(self._lock)

    def _note_spent(self, contents: list[Content]) -> None:
        """Say for this session's policies what earlier ones spent, also on lines that were taken out."""
        dropped = dropped_cost(self._lock)
        spent = dropped + sum(content.spent for content in contents)
        if self._retry_failed:
            record_dropped_cost(self._lock, dropped + sum(content.spent_on_failed for content in contents))
        (self.stop.shared / SPENT_BEFORE).write_text(str(spent))

    def _end_earlier_sessions(self) -> None:
        """Have what is left of sessions that were killed end: before their shards are looked for.

        An actor that comes to life meanwhile makes its shard, and then looks whether its session is over:
        either it sees that, or its shard is found.
        """
        for shared in self.path.glob(".shared-*"):
            self._end(shared)

    def _end(self, shared: Path) -> None:
        """Make a session over, in one step, whatever stands in its folder or is being written there."""
        gone = self.path / f".gone-{shared.name.removeprefix('.shared-')}"
        with suppress(FileNotFoundError):
            shared.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _clear(self, found: list[Path]) -> None:
        """Remove what sessions that were killed have left: their stops, and shards with nothing in them."""
        for pattern in (".stop-*", ".drop-*", ".shard-*.new"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
        for pattern in (".gone-*", ".parquet-*.new"):
            for folder in self.path.glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)
        for shard in found.copy():
            if not shard.stat().st_size:
                shard.unlink()
                found.remove(shard)


def _read_and_mend(shard: Path, key: KeyOf, retry_failed: bool, stop: Stop) -> Content:
    content = shards.read(shard, key)
    if content.torn or (retry_failed and content.failed.any()):
        with shards.held(shard):
            if stop.over:
                raise JournalError(f"{shard}: another run has taken the place of this one")
            shards.rewrite(shard, lambda line: not (retry_failed and line.failed))
        before, content = content, shards.read(shard, key)
        content = attrs.evolve(content, spent=before.spent, spent_on_failed=before.spent_on_failed)
    return content


def on_ray(do: Callable[..., T], arguments: Sequence[Iterable[Any]]) -> list[T]:
    """Call a function for each of these arguments, as tasks of Ray; headrace's errors come as themselves."""
    task = ray.remote(do)
    with translated():
        found: list[T] = ray.get([task.remote(*each) for each in arguments])
    return found


def shared(thing: T) -> Callable[[], T]:
    """Put a thing into Ray's object store, and return what gets it in any of its processes."""
    get: Callable[[], T] = partial(ray.get, ray.put(thing))
    return get


class translated:
    """A context manager in which what Ray wraps around headrace's errors is taken off them."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cause = error
        while cause is not None and not (isinstance(cause, HeadraceError) and not _is_wrapped(cause)):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None and cause is not error:
            raise cause from None


def _is_wrapped(error: BaseException) -> bool:
    """True for Ray's own errors, which are made to be of the kind of what they wrap, too."""
    return isinstance(error, ray.exceptions.RayError)
