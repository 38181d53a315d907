"""The actor: one event loop, one client and its connections, one shard, for all blocks that it gets."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.from_thread
import attrs
import pyarrow
import ray

from headrace import Client, HeadraceError, JournalError, SettingsError, WorkerLost
from headrace.bulk import BulkRun, Summary, Task, raise_file_limit
from headrace.plugins import SHARED_FOLDER
from headrace_ray.blocks import Block
from headrace_ray.done import Array
from headrace_ray.executor import BlockExecutor
from headrace_ray.shards import KeyOf, LeftBehind, OwnShard, read
from headrace_ray.stop import INTERRUPT, Stop

_LOOK_EVERY = 0.2
"""Seconds between two looks whether the session is to stop."""

_MOST_FRUITLESS = 3


@attrs.frozen(kw_only=True)
class Setup:
    """What an actor is to know. ``environment`` and ``folder`` are those in which settings are looked for.

    ``sidecar`` is a file beside the shards by which an actor knows that its folder is the run's.
    """

    make_client: Callable[[], Client]
    out: Path
    sidecar: str
    session: str
    key: KeyOf
    choices: tuple[str, ...]
    answer: Any
    max_in_flight: int
    wait_for_endpoint: float
    retry_failed: bool
    environment: Mapping[str, str] = attrs.field(repr=False)
    folder: str
    path: tuple[str, ...]
    backend: str
    backend_options: Mapping[str, Any]


class Asker:
    """Makes the calls of blocks; what Ray Data maps over them. Several blocks may be under way at once."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._stop = Stop(setup.out, setup.session)
        if not (setup.out / setup.sidecar).exists():
            raise SettingsError(
                f"{setup.out}: is not one folder for all machines of the cluster; name a shared one as --out"
            )
        os.environ.update(setup.environment)
        os.environ[SHARED_FOLDER] = str(self._stop.shared)
        sys.path += [folder for folder in setup.path if folder not in sys.path]
        if Path(setup.folder).is_dir():
            os.chdir(setup.folder)
        raise_file_limit(setup.max_in_flight)
        self._shard = OwnShard(setup.out, setup.session, ray.get_runtime_context().get_actor_id())
        if self._stop.over:  # only now: see `Folder`
            self._shard.path.unlink()
            raise JournalError(f"{setup.out}: another run has taken the place of this one")
        threading.Thread(target=self._end_with_session, name="end with session", daemon=True).start()
        try:
            self._shard.wait_for_predecessors()
        except JournalError as error:
            self._stop.give(error, drop=True)
        self._left = LeftBehind(self._shard.path, setup.session, setup.key)
        self._looking = threading.Lock()
        self._begun: dict[bytes, threading.Lock] = {}
        self._running: set[BulkRun] = set()
        # Entered for the actor's whole life, which ends with its process.
        self._loop = anyio.from_thread.start_blocking_portal(setup.backend, dict(setup.backend_options))
        self._portal = self._loop.__enter__()
        self._serving, self._executor = self._portal.start_task(self._serve)

    def __call__(self, table: Any) -> Any:
        """Make a block's calls that are not made yet; returns a row that holds the summary, pickled."""
        keys = table.column("key").to_numpy()
        block = hashlib.blake2b(keys.tobytes(), digest_size=16).digest()
        with self._looking:
            begun = block in self._begun
            turn = self._begun.setdefault(block, threading.Lock())
        with turn:  # Ray gives a block again where it lost sight of an actor for a while
            try:
                done = self._done(keys, begun)
            except HeadraceError as error:
                self._stop.give(error)
            summary = Summary(0) if self._stop.given else self._portal.call(self._perform, table, done)
        return pyarrow.table({"summary": pyarrow.array([pickle.dumps(summary)], pyarrow.binary())})

    def _done(self, keys: Array, begun: bool) -> dict[int, bool]:
        """What is done of these by actors that are no more, and by this one where it had begun them."""
        with self._looking:
            self._left.look()
            if self._left.fruitless >= _MOST_FRUITLESS:
                raise WorkerLost(
                    f"{self._left.fruitless} actors died without finishing an item; see their logs in Ray"
                )
            done = self._left.among(keys)
        return done | read(self._shard.path, self._setup.key).among(keys) if begun else done

    def _end_with_session(self) -> None:
        """End this process once the session is over: Ray ends it too, but not where it lost sight of it.

        What it has in flight then is the next session's, which waits for this process's end.
        """
        while True:
            with suppress(OSError):  # a folder that cannot be looked at says nothing
                if self._stop.over:
                    os._exit(1)
            time.sleep(_LOOK_EVERY)

    async def _serve(self, *, task_status: anyio.abc.TaskStatus[BlockExecutor]) -> None:
        """The client, its map and the watch over the stop, until calls in flight are to be dropped."""
        try:
            await self._serve_until_dropped(task_status)
        except Exception as error:  # blocks would wait for ever for what nobody does any more
            self._stop.give(WorkerLost(f"an actor failed: {error!r}"), drop=True)
            raise

    async def _serve_until_dropped(self, task_status: anyio.abc.TaskStatus[BlockExecutor]) -> None:
        setup, self._dropping = self._setup, anyio.Event()
        async with setup.make_client() as client, anyio.create_task_group() as group:
            executor = BlockExecutor(client, setup.max_in_flight, setup.choices, setup.answer)
            group.start_soon(executor.run)
            task_status.started(executor)
            while not self._stop.dropping:
                await anyio.sleep(_LOOK_EVERY)
                if self._stop.given:
                    for bulk in self._running:
                        bulk.stop()
            self._dropping.set()
            group.cancel_scope.cancel()

    async def _perform(self, table: Any, done: Mapping[int, bool]) -> Summary:
        journal = _BlockJournal(self._shard, done, self._setup.retry_failed)
        bulk = BulkRun(
            Task(Block(table), None, None),
            journal,
            table.num_rows,
            wait_for_endpoint=self._setup.wait_for_endpoint,
        )
        self._running.add(bulk)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._drop_when_told, group.cancel_scope)
                await bulk.perform(self._executor)
                group.cancel_scope.cancel()
        except* JournalError as errors:
            self._stop.give(_first(errors))
        finally:
            self._running.remove(bulk)
        reason = bulk.summary.stopped_by
        if reason is not None and reason != INTERRUPT:
            self._stop.give(reason)
        # Attempts, seconds and tokens went with the actor that counted them; that these are done is known.
        bulk.summary.succeeded += sum(not failed for failed in done.values())
        bulk.summary.failed += sum(done.values())
        bulk.summary.stopped_by = None  # the stop says it, and not every error can be pickled
        return bulk.summary

    async def _drop_when_told(self, scope: anyio.CancelScope) -> None:
        await self._dropping.wait()
        scope.cancel()


def _first(errors: BaseExceptionGroup[JournalError]) -> JournalError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


class _BlockJournal:
    """What `BulkRun` keeps the lines of a block with: the actor's shard, and what is done of the block."""

    done = failed = 0
    """Of those that were done before this session: none, for they are not in a block."""

    def __init__(self, shard: OwnShard, done: Mapping[int, bool], retry_failed: bool) -> None:
        self._shard = shard
        self._done = set(done)
        self._retry_failed = retry_failed

    def is_done(self, index: int) -> bool:
        return index in self._done

    def was_failed(self, index: int) -> bool:
        return self._retry_failed  # which of the items did is known to the driver alone

    def append(self, indexes: list[int], lines: bytes) -> None:
        self._shard.append(lines)
        self._done.update(indexes)

    async def sync(self) -> None:
        await self._shard.lines.sync()
