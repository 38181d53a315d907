"""The Redis or Valkey server, spoken to through coredis: the one place that knows of either."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from headrace import SettingsError
from headrace_redis.gcra import Limits
from headrace_redis.lane import Answer

if TYPE_CHECKING:
    import coredis

REMEMBERED = 30.0
"""Seconds for which a member counts after its last exchange."""

_SECOND = 1_000_000  # of µs, in which the script counts


@attrs.frozen
class Server:
    """Where the server is, and which keys there are ours. The URL holds the password and is never shown.

    Raises `SettingsError` for a URL that is none.
    """

    url: str = attrs.field(repr=False)
    prefix: str
    timeout: float

    def __attrs_post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            fits = parts.path if parts.scheme == "unix" else parts.hostname and parts.port != 0
        except ValueError:
            parts, fits = None, False
        if parts is None or parts.scheme not in ("redis", "rediss", "unix") or not fits:
            raise SettingsError("redis: url: must be like redis://localhost:6379/0 (or rediss://, unix://)")

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"

    def blotted(self, text: str) -> str:
        """``text`` without the password."""
        password = urlsplit(self.url).password
        return text.replace(password, "…") if password else text

    @asynccontextmanager
    async def connected(self, member: str) -> AsyncIterator[Connection]:
        """A connection for the length of the block, made with the first exchange."""
        import coredis  # not with the module: it takes longer to import than all of headrace
        from coredis.retry import NoRetryPolicy

        client = coredis.Redis.from_url(
            self.url,
            decode_components=True,
            decode_responses=False,
            verify_version=False,
            max_connections=1,
            connect_timeout=self.timeout,
            stream_timeout=self.timeout,
            retry_policy=NoRetryPolicy(),
        )
        pool = client.connection_pool
        pool.connection_class = _tidy(pool.connection_class)
        async with client:
            yield Connection(client, self.prefix, member)


def is_refused_login(error: BaseException | None) -> bool:
    """Whether the server wants another user or password."""
    from coredis.exceptions import AuthenticationError, AuthorizationError

    if isinstance(error, BaseExceptionGroup) and any(map(is_refused_login, error.exceptions)):
        return True
    if error is None or isinstance(error, (AuthenticationError, AuthorizationError)):
        return error is not None
    return is_refused_login(error.__cause__)


def _tidy(kind: Any) -> Any:
    """A kind of coredis' connections that leaves nothing open where it cannot connect.

    coredis closes its buffers with a connection that there was. Of one that was refused it leaves them to the
    garbage collector, which warns of each.
    """

    class Tidy(kind):  # type: ignore[misc]
        async def run(self, **keywords: Any) -> None:
            try:
                await super().run(**keywords)
            finally:
                for value in vars(self).values():
                    if isinstance(value, (MemoryObjectSendStream, MemoryObjectReceiveStream)):
                        value.close()

    return Tidy


@functools.cache
def _script() -> str:
    return files("headrace_redis").joinpath("exchange.lua").read_text(encoding="utf-8")


class Connection:
    """What is asked of the server, and told to it."""

    def __init__(self, client: coredis.Redis[bytes], prefix: str, member: str) -> None:
        self._client = client
        self._prefix = prefix
        self._member = member
        self._script = client.register_script(_script())

    async def exchange(
        self,
        lane: str,
        base_url: str,
        limits: Limits,
        asked: list[int],
        *,
        horizon: float,
        seconds_per_call: float = 0.0,
        back: tuple[int, int] = (0, 0),
        pause: float = 0.0,
        spent: int = 0,
        epoch: str = "",
        now: str = "",
    ) -> Answer:
        """Run ``exchange.lua`` on a lane: book for calls of so many tokens as are ``asked`` for.

        ``horizon``: seconds ahead for which is booked; ``seconds_per_call`` are added for each member, so
        that there is a turn for each. ``back``: requests and tokens given back. ``pause``: seconds for which
        all are to pause. ``spent``: nano-USD that this member has spent in all. ``epoch``: that of the lane,
        as the last answer about it said; "" where there was none. ``now``: µs, in place of the server's
        clock, for tests.
        """
        given: list[Any] = await self._script(
            keys=[self._key("lane", lane), self._key("spent"), self._key("members"), self._circuit(base_url)],
            args=[
                now,
                self._member,
                limits.interval * _SECOND,
                limits.per_token * _SECOND,
                limits.burst * _SECOND,
                horizon * _SECOND,
                seconds_per_call * _SECOND,
                *back,
                pause * _SECOND,
                spent,
                REMEMBERED * _SECOND,
                epoch,
                *asked,
            ],
        )
        total, members, open_for, paused_for, wait, made, age, *slots = map(int, given)
        return Answer(
            spent=total,
            members=members,
            open_for=open_for / 1000,
            paused_for=paused_for / _SECOND,
            wait=wait / _SECOND,
            epoch=str(made),
            age=age / _SECOND,
            slots=tuple([slot / _SECOND for slot in slots]),
        )

    async def open_circuit(self, base_url: str, seconds: float) -> None:
        """Let all others know that an endpoint's circuit is open, for at most so long."""
        await self._client.set(self._circuit(base_url), self._member, px=max(1, round(seconds * 1000)))

    async def close_circuit(self, base_url: str) -> None:
        """Let them know that it is not any more."""
        await self._client.delete([self._circuit(base_url)])

    def _circuit(self, base_url: str) -> str:
        return self._key("circuit", base_url)

    def _key(self, *names: str) -> str:
        return ":".join((self._prefix, *names))
