"""The output folder: locked for a session; Ray tasks read and repair its shards."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
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
from headrace_ray.key_sets import Array
from headrace_ray.shards import KeyOf, ShardContent
from headrace_ray.stop import StopSignal

SIDECAR = "run.journal"

_GRACE = 10.0
"""Seconds in which Ray may end the actors of a finished session, before the session's end makes them end."""

T = TypeVar("T")


class OutputFolder:
    """The output folder of a session, and of those that follow it; a context manager that holds its lock.

    Entering it repairs the shards after a crash. ``keys`` are the keys of the items that are done, and
    ``failed`` the keys of those that failed. With ``retry_failed``, the lines of failed items are removed.
    ``command`` is kept in the sidecar, for those who look at the run.

    Raises:
        JournalError: The folder belongs to another run, is in use, or is damaged.
    """

    def __init__(
        self,
        out: str,
        fingerprint: Mapping[str, Any],
        key: KeyOf,
        *,
        retry_failed: bool,
        command: str | None = None,
    ) -> None:
        self.path = Path(out).absolute()
        self._fingerprint = fingerprint
        self._command = command
        self._key = key
        self.retry_failed = retry_failed
        self._switching = threading.RLock()  # a signal handler may interrupt the thread that holds it
        self._name_session()

    def _name_session(self) -> None:
        self.session = secrets.token_hex(4)
        self.stop = StopSignal(self.path, self.session)

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot create the output folder: {error.strerror}") from error
        begun = next(self.path.glob(shards.PATTERN), None) is not None
        self._lock = lock_run(
            self.path, self.path / SIDECAR, self._fingerprint, begun=begun, command=self._command
        )
        try:
            self._begin()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def begin_again(self) -> None:
        """End the session, remove the lines of failed items, and begin another session.

        A stop that was requested meanwhile holds for the new session.

        Raises:
            JournalError: A shard is damaged or cannot be rewritten.
        """
        shards.wait_until_free(self.path.glob(f"shard-{self.session}-*.jsonl"), _GRACE)
        self._end(self.stop.shared)
        with self._switching:
            before = self.stop
            self._name_session()
            reason = before.reason()
            if reason is not None:
                self.stop.request(reason, drop=before.drop_requested)
        before.clear()
        self.retry_failed = True
        self._begin()

    def request_stop(self, reason: HeadraceError | str, *, drop: bool = False) -> None:
        """Stop the session that goes on now; for all threads of the driver. See `StopSignal.request`."""
        with self._switching:
            self.stop.request(reason, drop=drop)

    def _begin(self) -> None:
        """Begin the session whose name is set."""
        try:
            self._end_earlier_sessions()
            self.stop.shared.mkdir()
            found = sorted(self.path.glob(shards.PATTERN))
            shards.wait_for_release(found)
            self._clear(found)
            arguments = [(shard, self._key, self.retry_failed, self.stop) for shard in found]
            contents = run_tasks(_read_and_repair, arguments)
            self._note_spent(contents)
        except BaseException:
            self._end(self.stop.shared)
            raise
        self.keys: list[Array] = [each.keys for each in contents]
        self.failed: list[Array] = [each.keys[each.failed] for each in contents]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for shard in self.path.glob(f"shard-{self.session}-*.jsonl"):
            if not shard.stat().st_size and shards.is_free(shard):
                shard.unlink()
        self._end(self.stop.shared)
        self.stop.clear()
        os.close(self._lock)

    @property
    def sidecar(self) -> int:
        """The descriptor of the sidecar, while the folder is entered."""
        return self._lock

    def _note_spent(self, contents: list[ShardContent]) -> None:
        """Store what earlier sessions spent, also on removed lines, for the policies of this session."""
        dropped = dropped_cost(self._lock)
        spent = dropped + sum(content.spent for content in contents)
        if self.retry_failed:
            record_dropped_cost(self._lock, dropped + sum(content.spent_on_failed for content in contents))
        (self.stop.shared / SPENT_BEFORE).write_text(str(spent))

    def _end_earlier_sessions(self) -> None:
        """End the remaining actors of killed sessions, before their shards are searched.

        An actor that starts at this time creates its shard first, and then checks whether its session has
        ended. So either the actor ends, or its shard is found.
        """
        for shared in self.path.glob(".shared-*"):
            self._end(shared)

    def _end(self, shared: Path) -> None:
        """End a session in one atomic step, even if files in its folder are being written."""
        ended = self.path / f".gone-{shared.name.removeprefix('.shared-')}"
        with suppress(FileNotFoundError):
            shared.rename(ended)
        shutil.rmtree(ended, ignore_errors=True)

    def _clear(self, found: list[Path]) -> None:
        """Remove the stop files and empty shards of killed sessions."""
        for pattern in (".stop-*", ".drop-*", ".shard-*.new"):
            for file in self.path.glob(pattern):
                if not file.name.endswith(f"-{self.session}"):
                    file.unlink(missing_ok=True)
        for pattern in (".gone-*", ".parquet-*.new"):
            for folder in self.path.glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)
        for shard in found.copy():
            if not shard.stat().st_size:
                shard.unlink()
                found.remove(shard)


def _read_and_repair(shard: Path, key: KeyOf, retry_failed: bool, stop: StopSignal) -> ShardContent:
    """Remove a torn line, and failed items with ``retry_failed``; return the content of the shard."""
    content = shards.read_shard(shard, key)
    if content.torn or (retry_failed and content.failed.any()):
        with shards.locked(shard):
            if stop.session_ended:
                raise JournalError(f"{shard}: another run has replaced this one")
            shards.rewrite(shard, lambda line: not (retry_failed and line.failed))
        before, content = content, shards.read_shard(shard, key)
        content = attrs.evolve(content, spent=before.spent, spent_on_failed=before.spent_on_failed)
    return content


def run_tasks(function: Callable[..., T], arguments: Sequence[Iterable[Any]]) -> list[T]:
    """Call a function for each tuple of arguments, as Ray tasks; headrace's errors are raised unwrapped."""
    task = ray.remote(function)
    with translated_errors():
        results: list[T] = ray.get([task.remote(*each) for each in arguments])
    return results


def put_shared(value: T) -> Callable[[], T]:
    """Put a value into Ray's object store, and return a function that gets it in any of its processes."""
    get: Callable[[], T] = partial(ray.get, ray.put(value))
    return get


class translated_errors:
    """A context manager that raises headrace's errors without the errors that Ray wraps around them."""

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
    """Return whether this is one of Ray's errors; they are also instances of the wrapped error's class."""
    return isinstance(error, ray.exceptions.RayError)
