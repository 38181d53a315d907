"""The actor: one event loop, one client and one shard for all blocks that it gets."""

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
from headrace.bulk import BulkRun, Item, Summary, Task, raise_file_limit
from headrace.plugins import SHARED_FOLDER
from headrace_ray.blocks import BlockSource
from headrace_ray.executor import BlockExecutor
from headrace_ray.key_sets import Array
from headrace_ray.places import take_place
from headrace_ray.running_blocks import RunningBlocks
from headrace_ray.shards import AbandonedShards, ActorShard, KeyOf, read_shard
from headrace_ray.stop import INTERRUPT, StopSignal

_POLL_INTERVAL = 0.2
"""Seconds between two checks whether the session must stop."""

_MAX_EMPTY_RESTARTS = 3
"""Maximum number of actors of a session that may die without finishing an item."""


@attrs.frozen(kw_only=True)
class ActorSetup:
    """The configuration of an actor.

    ``max_in_flight`` calls are shared by all ``actors``. Settings are read from ``environment`` and
    ``folder``. ``sidecar`` is a file beside the shards; if it
    exists, the actor sees the folder of the run. ``steered`` says whether the actor looks for orders, and
    reports what it does.
    """

    make_client: Callable[[], Client]
    out: Path
    sidecar: str
    session: str
    key: KeyOf
    choices: tuple[str, ...]
    answer: Any
    actors: int
    max_in_flight: int
    wait_for_endpoint: float
    retry_failed: bool
    steered: bool
    environment: Mapping[str, str] = attrs.field(repr=False)
    folder: str
    path: tuple[str, ...]
    backend: str
    backend_options: Mapping[str, Any]


class CallActor:
    """Makes the calls of blocks; Ray Data maps it over them. It may work on several blocks at once."""

    def __init__(self, setup: ActorSetup) -> None:
        self._setup = setup
        self._stop = StopSignal(setup.out, setup.session)
        if not (setup.out / setup.sidecar).exists():
            raise SettingsError(
                f"{setup.out}: must be a folder that all machines of the cluster share; name another --out"
            )
        os.environ.update(setup.environment)
        os.environ[SHARED_FOLDER] = str(self._stop.shared)
        sys.path += [folder for folder in setup.path if folder not in sys.path]
        if Path(setup.folder).is_dir():
            os.chdir(setup.folder)
        self._shard = ActorShard(setup.out, setup.session, ray.get_runtime_context().get_actor_id())
        if self._stop.session_ended:  # checked only now: see `OutputFolder`
            self._shard.path.unlink()
            raise JournalError(f"{setup.out}: another run has replaced this one")
        threading.Thread(target=self._end_with_session, name="end with session", daemon=True).start()
        try:
            self._shard.wait_for_predecessors()
        except JournalError as error:
            self._stop.request(error, drop=True)
        self._place = take_place(self._stop.shared, setup.actors)
        raise_file_limit(self._place.share_of(setup.max_in_flight))
        self._abandoned = AbandonedShards(self._shard.path, setup.session, setup.key)
        self._lock = threading.Lock()
        self._block_locks: dict[bytes, threading.Lock] = {}
        # Entered for the life of the actor, which ends with its process.
        self._loop = anyio.from_thread.start_blocking_portal(setup.backend, dict(setup.backend_options))
        self._portal = self._loop.__enter__()
        self._serving, self._executor = self._portal.start_task(self._serve)

    def __call__(self, table: Any) -> Any:
        """Make the calls of a block that are not done; return a row with the pickled summary."""
        keys = table.column("key").to_numpy()
        block = hashlib.blake2b(keys.tobytes(), digest_size=16).digest()
        with self._lock:
            begun = block in self._block_locks
            block_lock = self._block_locks.setdefault(block, threading.Lock())
        with block_lock:  # Ray sends a block again if it lost contact with an actor for a while
            try:
                done = self._done(keys, begun)
            except HeadraceError as error:
                self._stop.request(error)
            summary = Summary(0) if self._stop.requested else self._portal.call(self._perform, table, done)
        return pyarrow.table({"summary": pyarrow.array([pickle.dumps(summary)], pyarrow.binary())})

    def _done(self, keys: Array, begun: bool) -> dict[int, bool]:
        """Return which items are done, by dead actors or earlier by this one, and whether they failed."""
        with self._lock:
            self._abandoned.scan()
            if self._abandoned.empty_restarts >= _MAX_EMPTY_RESTARTS:
                raise WorkerLost(
                    f"{self._abandoned.empty_restarts} actors died without finishing an item; see their logs "
                    "in Ray"
                )
            done = self._abandoned.find(keys)
        return done | read_shard(self._shard.path, self._setup.key).find(keys) if begun else done

    def _end_with_session(self) -> None:
        """End this process when the session has ended. Ray does this too, unless it lost contact with it.

        The next session makes the calls in flight again, and waits until this process has ended.
        """
        while True:
            with suppress(OSError):  # ignore a folder that cannot be read
                if self._stop.session_ended:
                    os._exit(1)
            time.sleep(_POLL_INTERVAL)

    async def _serve(self, *, task_status: anyio.abc.TaskStatus[BlockExecutor]) -> None:
        """Run the client, its map and the check for a stop, until calls in flight must be dropped."""
        try:
            await self._serve_until_dropped(task_status)
        except Exception as error:  # otherwise blocks would wait forever
            self._stop.request(WorkerLost(f"an actor failed: {error!r}"), drop=True)
            raise

    async def _serve_until_dropped(self, task_status: anyio.abc.TaskStatus[BlockExecutor]) -> None:
        """See `_serve`."""
        setup, self._dropping = self._setup, anyio.Event()
        async with setup.make_client() as client, anyio.create_task_group() as group:
            share = self._place.share_of(setup.max_in_flight)
            executor = BlockExecutor(client, share, setup.choices, setup.answer)
            blocks = self._blocks = RunningBlocks(client, self._place, self._stop.shared, self._shard.path)
            if setup.steered:
                await blocks.follow_orders()
                group.start_soon(blocks.follow_regularly)
                group.start_soon(blocks.report_regularly)
            group.start_soon(executor.run)
            task_status.started(executor)
            while not self._stop.drop_requested:
                await anyio.sleep(_POLL_INTERVAL)
                if self._stop.requested:
                    blocks.stop()
            self._dropping.set()
            group.cancel_scope.cancel()

    async def _perform(self, table: Any, done: Mapping[int, bool]) -> Summary:
        """Make the calls of a block, except for items that are done; return its summary."""
        journal = _BlockJournal(self._shard, done, self._setup.retry_failed)
        bulk = BulkRun(
            Task(BlockSource(table), None, None),
            journal,
            table.num_rows,
            wait_for_endpoint=self._setup.wait_for_endpoint,
        )
        bulk.attach(self._executor)
        await self._blocks.add(bulk)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._cancel_when_dropped, group.cancel_scope)
                await bulk.perform(self._executor)
                group.cancel_scope.cancel()
        except* JournalError as errors:
            self._stop.request(_first(errors))
        finally:
            self._blocks.remove(bulk)
        reason = bulk.summary.stopped_by
        if reason is not None and reason != INTERRUPT:
            self._stop.request(reason)
        # Attempts, seconds and tokens of these items were lost with the actor that counted them.
        bulk.summary.succeeded += sum(not failed for failed in done.values())
        bulk.summary.failed += sum(done.values())
        bulk.summary.stopped_by = None  # the stop signal has the reason; not every error can be pickled
        return bulk.summary

    async def _cancel_when_dropped(self, scope: anyio.CancelScope) -> None:
        """Cancel the calls of a block when calls in flight must be dropped."""
        await self._dropping.wait()
        scope.cancel()


def _first(errors: BaseExceptionGroup[JournalError]) -> JournalError:
    """Return the first error of a group."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


class _BlockJournal:
    """The journal of a block, for `BulkRun`: the actor's shard, and which items of the block are done."""

    first_index = 0

    def __init__(self, shard: ActorShard, done: Mapping[int, bool], retry_failed: bool) -> None:
        self._shard = shard
        self._done = done
        self._retry_failed = retry_failed

    def is_done(self, item: Item) -> bool:
        return item.index in self._done

    def was_removed(self, item: Item) -> bool:
        return self._retry_failed  # only the driver knows which items failed

    def append(self, indexes: list[int], lines: bytes) -> None:
        self._shard.append(lines)

    async def sync(self) -> None:
        await self._shard.lines.sync()
