"""The cache policy: a call that was answered before gets that answer; identical calls at once make one."""

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
from headrace_cache.database import Database, Row
from headrace_cache.kept import Kept, kept_of, revived
from headrace_cache.key import key_of, may_be_kept
from headrace_cache.store import Store

MEBIBYTE = 1024 * 1024


def _seconds(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"cache: max_age={value!r}: must be a number of seconds above 0")


def _bytes(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < MEBIBYTE:
        raise SettingsError(f"cache: max_bytes={value!r}: must be at least {MEBIBYTE}, one mebibyte")


@attrs.define(eq=False)
class _Flight:
    """A call under way that others wait for: when it is over, and what came of it for them.

    ``kept`` is what is kept of its reply, ``error`` how it failed. With neither, the call has a reply that is
    of no use to the others (``useless``), or it was given up, and the next of them makes it.
    """

    over: anyio.Event = attrs.field(factory=anyio.Event)
    kept: Kept | None = None
    error: CallError | None = None
    useless: bool = False


def _shared_by_all(error: CallError) -> bool:
    """Whether the same call, made by another caller at the same time, would have failed in this way."""
    return not isinstance(error, (DeadlineExceeded, PolicyError))


def _for_another(error: CallError) -> CallError:
    """An error of its own for a call that waited for the one that failed, and has nothing to pay."""
    own = copy.copy(error)
    own.cost = own.possible_cost = None
    own.__cause__ = error
    return own


def _database(path: str, max_bytes: int) -> Database:
    return Database(Path(path).expanduser().absolute(), max_bytes)


@attrs.define(eq=False, kw_only=True)
class Cache:
    """Keeps the answers to calls in the file ``path``, and gives them to later calls that are the same.

    ``path``: an SQLite file, made where there is none; without one (the default) nothing is kept.
    ``max_age``: seconds after which an answer is not given any more (default: none, for ever).
    ``max_bytes``: what the file may hold (default 1 GiB); what was not used for the longest time goes first.
    ``clock``: seconds since 1970.

    Kept are chat and other completions, embeddings, responses and messages, where they are whole answers of
    the model that was asked for, and were not streamed. An answer belongs to the endpoint that gave it.
    Identical calls at once make one. Where it fails, all fail with its error; where its answer is not kept,
    the others are made at once; where it is given up (cancelled, or past its own deadline), the next of them
    is made. A request that is ``fresh`` is made, and its answer replaces the one that was kept.

    The file is open while a client with this policy is. Raises `SettingsError` for a value out of range, and
    when the client is entered, for a file that cannot be used.
    """

    name = "cache"
    stage = Stage.ANSWER

    path: str | None = None
    max_age: float | None = attrs.field(default=None, validator=_seconds)
    max_bytes: int = attrs.field(default=1024 * MEBIBYTE, validator=_bytes)
    clock: Callable[[], float] = attrs.field(default=time.time, repr=False)
    _store: Store | None = attrs.field(default=None, init=False, repr=False)

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        """The time for which the file is open."""
        if self.path is None:
            yield
            return
        store = self._store = Store(_database(self.path, self.max_bytes))
        try:
            yield
        finally:
            self._store = None
            store.close()

    def wrap(self, send: Send) -> Send:
        """``send``, for calls that were not answered before; ``send`` itself without a ``path``."""
        if self.path is None:
            return send
        flights: dict[bytes, _Flight] = {}
        clock = self.clock
        max_age = math.inf if self.max_age is None else self.max_age

        def answer(call: Call) -> Awaitable[Reply]:
            return ask(call) if may_be_kept(call) else send(call)

        async def ask(call: Call) -> Reply:
            store = self._store
            if store is None:
                raise ClientStateError("the cache is used in the block of its client")
            keys = {endpoint: key_of(call, endpoint) for endpoint in call.endpoints or (call.endpoint,)}
            reply = None if call.request.fresh else await found(store, keys, call)
            call.notify("cache", hit=reply is not None)
            if reply is None:
                return await make(store, keys, call)
            if store.due:
                await store.write()
            else:
                await (
                    checkpoint()
                )  # or a loop over answers that are all here would let nobody else have a turn
            return reply

        async def found(store: Store, keys: Mapping[Endpoint, bytes], call: Call) -> Reply | None:
            """What one of the endpoints has answered, also to a call that is under way."""
            kept: Kept | None = None
            own = keys[call.endpoint]
            while kept is None and (flight := flights.get(own)) is not None:
                async with call.waiting():
                    await flight.over.wait()
                if flight.error is not None:
                    raise _for_another(flight.error)
                kept = flight.kept
                if flight.useless:
                    break
            now = clock()
            for key in keys.values():
                if kept is None:
                    kept = store.find(key, now - max_age, now)
            return None if kept is None else revived(kept, call)

        async def make(store: Store, keys: Mapping[Endpoint, bytes], call: Call) -> Reply:
            # From the look at the flights until here nothing was awaited: nobody else makes this call.
            own, model = keys[call.endpoint], call.request.model
            flight = flights[own] = _Flight()
            try:
                reply = await send(call)
                key = keys.get(call.endpoint)
                if key is not None and call.request.model == model:  # not what another model answered
                    flight.kept = kept_of(call, reply)
                    if flight.kept is not None:
                        # Nobody waits for the file; and until it is there, it is had from here.
                        flight.over.set()
                        await store.keep(Row(key, flight.kept, clock()))
                flight.useless = flight.kept is None
                return reply
            except CallError as error:
                if _shared_by_all(error):
                    flight.error = error
                raise
            finally:
                flight.over.set()
                if flights.get(own) is flight:
                    del flights[own]

        return answer
