"""The cache policy: repeated calls get the stored answer, and identical concurrent calls make one request."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from headrace import (
    Call,
    CallError,
    ClientStateError,
    DeadlineExceeded,
    Endpoint,
    PolicyError,
    Reply,
    Send,
    SettingsError,
    Stage,
)
from headrace.plugins import TaskGroupFactory
from headrace_cache.database import CacheRow, Database
from headrace_cache.entry import CacheEntry, to_entry, to_reply
from headrace_cache.keys import cache_key, is_cacheable
from headrace_cache.store import CacheStore

MEBIBYTE = 1024 * 1024


def _validate_max_age(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"cache: max_age={value!r}: must be a number of seconds above 0")


def _validate_max_bytes(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < MEBIBYTE:
        raise SettingsError(f"cache: max_bytes={value!r}: must be at least {MEBIBYTE}, one mebibyte")


@attrs.define(eq=False)
class _SharedCall:
    """A call in flight whose result identical calls wait for.

    If ``done`` is set without an entry, an error or ``uncacheable``, the call was cancelled or passed its
    deadline, and the next waiter makes it.

    Attributes:
        done: Set when the result is known.
        entry: The cached reply.
        error: How the call failed.
        uncacheable: The call has a reply, but others cannot use it.
    """

    done: anyio.Event = attrs.field(factory=anyio.Event)
    entry: CacheEntry | None = None
    error: CallError | None = None
    uncacheable: bool = False


def _applies_to_waiters(error: CallError) -> bool:
    """Whether the same call of another caller would have failed with the same error."""
    return not isinstance(error, (DeadlineExceeded, PolicyError))


def _copy_for_waiter(error: CallError) -> CallError:
    """A copy of the error for a call that waited for the failed one; it has no cost."""
    own = copy.copy(error)
    own.cost = own.possible_cost = None
    own.__cause__ = error
    return own


def _open_database(path: str, max_bytes: int) -> Database:
    return Database(Path(path).expanduser().absolute(), max_bytes)


@attrs.define(eq=False, kw_only=True)
class Cache:
    """Stores the answers to calls in an SQLite file, and returns them for later identical calls.

    Complete answers to chat and other completions, embeddings, responses and messages are cached, if they
    are from the requested model. Streams are not cached. An answer belongs to the endpoint that gave it. The
    file is open while a client with this policy is open.

    Identical concurrent calls make one request. If it fails, all fail with its error. If its answer cannot be
    cached, the others are made at once. If it is cancelled or passes its own deadline, the next one is made.
    A request with ``fresh=True`` is always made, and its answer replaces the stored one.

    Args:
        path: The file, which is created if it does not exist (default None: nothing is cached).
        max_age: Seconds for which an answer is used (default None: no limit).
        max_bytes: Size limit of the file (default 1 GiB). The least recently used answers are deleted first.
        clock: Returns seconds since 1970 (default `time.time`).

    Raises:
        SettingsError: A value is out of range; or, when the client is entered, the file cannot be used.

    Example:
        >>> client = headrace.Client(policies=[Cache(path="answers.sqlite")])
    """

    name = "cache"
    stage = Stage.ANSWER

    path: str | None = None
    max_age: float | None = attrs.field(default=None, validator=_validate_max_age)
    max_bytes: int = attrs.field(default=1024 * MEBIBYTE, validator=_validate_max_bytes)
    clock: Callable[[], float] = attrs.field(default=time.time, repr=False)
    _store: CacheStore | None = attrs.field(default=None, init=False, repr=False)

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        """Keep the file open while a client is open."""
        if self.path is None:
            yield
            return
        store = self._store = CacheStore(_open_database(self.path, self.max_bytes))
        try:
            yield
        finally:
            self._store = None
            store.close()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` behind the cache; ``send`` itself without a ``path``."""
        if self.path is None:
            return send
        shared_calls: dict[bytes, _SharedCall] = {}
        clock = self.clock
        max_age = math.inf if self.max_age is None else self.max_age

        def answer(call: Call) -> Awaitable[Reply]:
            return answer_cacheable(call) if is_cacheable(call) else send(call)

        async def answer_cacheable(call: Call) -> Reply:
            store = self._store
            if store is None:
                raise ClientStateError("the cache is closed; make calls inside the block of its client")
            keys = {endpoint: cache_key(call, endpoint) for endpoint in call.endpoints or (call.endpoint,)}
            reply = None if call.request.fresh else await look_up(store, keys, call)
            call.notify("cache", hit=reply is not None)
            if reply is None:
                return await make_call(store, keys, call)
            if store.needs_flush:
                await store.flush()
            else:
                await checkpoint()  # a loop over hits must let other tasks run
            return reply

        async def look_up(store: CacheStore, keys: Mapping[Endpoint, bytes], call: Call) -> Reply | None:
            """The answer of one of the endpoints, including that of a call in flight."""
            entry: CacheEntry | None = None
            own_key = keys[call.endpoint]
            while entry is None and (shared := shared_calls.get(own_key)) is not None:
                async with call.waiting():
                    await shared.done.wait()
                if shared.error is not None:
                    raise _copy_for_waiter(shared.error)
                entry = shared.entry
                if shared.uncacheable:
                    break
            now = clock()
            for key in keys.values():
                if entry is None:
                    entry = store.get(key, now - max_age, now)
            return None if entry is None else to_reply(entry, call)

        async def make_call(store: CacheStore, keys: Mapping[Endpoint, bytes], call: Call) -> Reply:
            # look_up awaited nothing after its check of shared_calls, so no other task makes this call.
            own_key, model = keys[call.endpoint], call.request.model
            shared = shared_calls[own_key] = _SharedCall()
            try:
                reply = await send(call)
                key = keys.get(call.endpoint)
                if key is not None and call.request.model == model:  # not the answer of another model
                    shared.entry = to_entry(call, reply)
                    if shared.entry is not None:
                        # Waiters get the entry at once: they need not wait for the file.
                        shared.done.set()
                        await store.put(CacheRow(key, shared.entry, clock()))
                shared.uncacheable = shared.entry is None
                return reply
            except CallError as error:
                if _applies_to_waiters(error):
                    shared.error = error
                raise
            finally:
                shared.done.set()
                if shared_calls.get(own_key) is shared:
                    del shared_calls[own_key]

        return answer
