"""The cache policy: a call that was answered before gets that answer; identical calls at once make one."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from headrace import Call, Reply, Send, SettingsError, Stage
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
    """A call under way that others wait for: when it is over, and what is kept of its reply."""

    over: anyio.Event = attrs.field(factory=anyio.Event)
    kept: Kept | None = None


@attrs.define(eq=False, kw_only=True)
class Cache:
    """Keeps the answers to calls in the file ``path``, and gives them to later calls that are the same.

    ``path``: an SQLite file, made where there is none; without one (the default) nothing is kept.
    ``max_age``: seconds after which an answer is not given any more (default: none, for ever).
    ``max_bytes``: what the file may hold (default 1 GiB); what was not used for the longest time goes first.
    ``clock``: seconds since 1970.

    Kept are chat and other completions, embeddings, responses and messages, where they succeeded and were not
    streamed. Identical calls at once make one; where it fails, the next of them is made. Raises
    `SettingsError` for a value out of range, and for a file that cannot be used.
    """

    name: ClassVar[str] = "cache"
    stage: ClassVar[Stage] = Stage.ANSWER

    path: str | None = None
    max_age: float | None = attrs.field(default=None, validator=_seconds)
    max_bytes: int = attrs.field(default=1024 * MEBIBYTE, validator=_bytes)
    clock: Callable[[], float] = attrs.field(default=time.time, repr=False)

    def wrap(self, send: Send) -> Send:
        """``send``, for calls that were not answered before; ``send`` itself without a ``path``."""
        if self.path is None:
            return send
        path = Path(self.path).expanduser().absolute()
        store = Store(Database(path, self.max_bytes))
        flights: dict[bytes, _Flight] = {}
        clock = self.clock
        max_age = math.inf if self.max_age is None else self.max_age

        def answer(call: Call) -> Awaitable[Reply]:
            return ask(call) if may_be_kept(call) else send(call)

        async def ask(call: Call) -> Reply:
            key = key_of(call)
            kept: Kept | None = None
            while kept is None and (flight := flights.get(key)) is not None:
                await flight.over.wait()
                kept = flight.kept
            if kept is None:
                now = clock()
                kept = store.find(key, now - max_age, now)
            reply = None if kept is None else revived(kept, call)
            call.notify("cache", hit=reply is not None)
            if reply is None:
                return await make(key, call)
            if store.due:
                await store.write()
            else:
                await (
                    checkpoint()
                )  # or a loop over answers that are all here would let nobody else have a turn
            return reply

        async def make(key: bytes, call: Call) -> Reply:
            # From the look at the flights until here nothing was awaited: nobody else makes this call.
            flight = flights[key] = _Flight()
            try:
                reply = await send(call)
                flight.kept = kept_of(reply)
                if flight.kept is not None:
                    flight.over.set()  # nobody waits for the file; and until it is there, it is had from here
                    await store.keep(Row(key, flight.kept, clock()))
                return reply
            finally:
                flight.over.set()
                if flights.get(key) is flight:
                    del flights[key]

        return answer
