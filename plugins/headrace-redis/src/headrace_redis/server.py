"""The Redis or Valkey server, through coredis: the only module that knows either."""

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
from headrace_redis.gcra import GcraLimits
from headrace_redis.turns import ExchangeResult

if TYPE_CHECKING:
    import coredis

MEMBER_TTL = 30.0
"""Seconds for which a member counts after its last exchange."""

_MICROSECONDS = 1_000_000  # per second; the script counts in µs


@attrs.frozen
class RedisServer:
    """The address of the server, and the prefix of our keys. The URL holds the password and is never shown.

    Raises:
        SettingsError: The URL is not valid.
    """

    url: str = attrs.field(repr=False)
    prefix: str
    timeout: float

    def __attrs_post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.path if parts.scheme == "unix" else parts.hostname and parts.port != 0
        except ValueError:
            parts, valid = None, False
        if parts is None or parts.scheme not in ("redis", "rediss", "unix") or not valid:
            raise SettingsError("redis: url: must be like redis://localhost:6379/0 (or rediss://, unix://)")

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"

    def redact(self, text: str) -> str:
        """Return ``text`` without the password."""
        password = urlsplit(self.url).password
        return text.replace(password, "…") if password else text

    @asynccontextmanager
    async def connected(self, member_id: str) -> AsyncIterator[RedisConnection]:
        """Provide a connection inside the block; it is made with the first exchange."""
        import coredis  # imported late: it takes longer to import than all of headrace
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
        pool.connection_class = _closing_streams(pool.connection_class)
        async with client:
            yield RedisConnection(client, self.prefix, member_id)


def is_rejected_login(error: BaseException | None) -> bool:
    """Return whether the server rejects the user or the password."""
    from coredis.exceptions import AuthenticationError, AuthorizationError

    if isinstance(error, BaseExceptionGroup) and any(map(is_rejected_login, error.exceptions)):
        return True
    if error is None or isinstance(error, (AuthenticationError, AuthorizationError)):
        return error is not None
    return is_rejected_login(error.__cause__)


def _closing_streams(kind: Any) -> Any:
    """Return a subclass of a coredis connection that closes its streams if it cannot connect.

    coredis closes its buffers when an established connection ends. After a failed connection it leaves them
    to the garbage collector, which warns about each.
    """

    class ClosingConnection(kind):  # type: ignore[misc]
        async def run(self, **keywords: Any) -> None:
            try:
                await super().run(**keywords)
            finally:
                for value in vars(self).values():
                    if isinstance(value, (MemoryObjectSendStream, MemoryObjectReceiveStream)):
                        value.close()

    return ClosingConnection


@functools.cache
def _script() -> str:
    """Return the source of ``exchange.lua``."""
    return files("headrace_redis").joinpath("exchange.lua").read_text(encoding="utf-8")


class RedisConnection:
    """A connection to the server: makes exchanges, and reports circuits."""

    def __init__(self, client: coredis.Redis[bytes], prefix: str, member_id: str) -> None:
        self._client = client
        self._prefix = prefix
        self._member_id = member_id
        self._script = client.register_script(_script())

    async def exchange(
        self,
        lane: str,
        base_url: str,
        limits: GcraLimits,
        tokens: list[int],
        *,
        horizon: float,
        seconds_per_call: float = 0.0,
        refund: tuple[int, int] = (0, 0),
        pause: float = 0.0,
        spent: int = 0,
        epoch: str = "",
        now: str = "",
    ) -> ExchangeResult:
        """Run ``exchange.lua`` on a lane.

        Args:
            lane: The lane's key.
            base_url: The endpoint whose circuit is looked up.
            limits: The lane's limits.
            tokens: The tokens of each call to book a turn for.
            horizon: Seconds ahead for which turns are booked.
            seconds_per_call: Added to ``horizon`` for each member, so that there is a turn for each.
            refund: Requests and tokens to return to the limits.
            pause: Seconds for which all members must pause.
            spent: Nano-USD that this member has spent since it began.
            epoch: The epoch of the lane in the last result, "" without one.
            now: Time in µs instead of the server's clock, for tests.
        """
        values: list[Any] = await self._script(
            keys=[self._key("lane", lane), self._key("spent"), self._key("members"), self._circuit(base_url)],
            args=[
                now,
                self._member_id,
                limits.interval * _MICROSECONDS,
                limits.per_token * _MICROSECONDS,
                limits.burst * _MICROSECONDS,
                horizon * _MICROSECONDS,
                seconds_per_call * _MICROSECONDS,
                *refund,
                pause * _MICROSECONDS,
                spent,
                MEMBER_TTL * _MICROSECONDS,
                epoch,
                *tokens,
            ],
        )
        total, members, open_for, paused_for, wait, epoch_us, age, *slots = map(int, values)
        return ExchangeResult(
            spent=total,
            members=members,
            open_for=open_for / 1000,
            paused_for=paused_for / _MICROSECONDS,
            wait=wait / _MICROSECONDS,
            epoch=str(epoch_us),
            age=age / _MICROSECONDS,
            slots=tuple([slot / _MICROSECONDS for slot in slots]),
        )

    async def open_circuit(self, base_url: str, seconds: float) -> None:
        """Report that an endpoint's circuit is open, for at most ``seconds``."""
        await self._client.set(self._circuit(base_url), self._member_id, px=max(1, round(seconds * 1000)))

    async def close_circuit(self, base_url: str) -> None:
        """Report that an endpoint's circuit is closed."""
        await self._client.delete([self._circuit(base_url)])

    def _circuit(self, base_url: str) -> str:
        return self._key("circuit", base_url)

    def _key(self, *names: str) -> str:
        return ":".join((self._prefix, *names))
