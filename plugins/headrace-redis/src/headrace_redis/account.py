"""The settings of a shared account, and its policies."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

import attrs

from headrace import Policy, RateLimits, Secret, SettingsError
from headrace.plugins import parse_usd, positive_number
from headrace_redis.gcra import GcraLimits
from headrace_redis.member import AccountMember
from headrace_redis.pace import SharedPace
from headrace_redis.server import RedisServer
from headrace_redis.shared_budget import NANO
from headrace_redis.spending import SharedSpending


def _as_secret(url: str | Secret | None) -> Secret | None:
    return Secret(url) if isinstance(url, str) else url


def _as_amount(value: Decimal | int | float | str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = parse_usd(value)
    except ValueError as error:
        raise SettingsError(f"redis: budget={error}") from None
    if amount < 0:
        raise SettingsError(f"redis: budget={value}: must be at least 0")
    return amount


@attrs.define(eq=False, kw_only=True)
class Account(RateLimits):
    """What all processes of one account share, over a Redis or Valkey server.

    Args:
        url: The server: ``redis://:password@host:6379/0``, ``rediss://…`` or ``unix://…`` (default None: no
            policies).
        requests_per_minute: For all processes together, for each model at each endpoint (default: no limit).
        tokens_per_minute: The same for input and output tokens together. They cannot be limited separately.
        limits: Other limits, by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``. For each key, the first
            of these that has it applies.
        burst: Burst size, as seconds' worth of the limit (default 1); one call at least.
        budget: USD that all processes together may spend, by headrace-cost (default: no limit).
        max_pause: The longest pause in seconds that calls wait for after a 429 (default 120). In a longer
            one, calls fail with `CircuitOpen`.
        prefix: Prefix of all keys (default "headrace").
        timeout: Seconds for a connection or an exchange, after which Redis counts as unavailable (default
            0.5).
        processes: How many processes share the limits while Redis is unavailable (default: as many as there
            were recently; then Redis must be available when a client is opened).

    Raises:
        SettingsError: A value is out of range, or ``limits`` has an unknown key. When a client is opened: the
            login is rejected, or the server cannot be used and ``processes`` is not set.
    """

    name = "redis"
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("input_tokens_per_minute", "output_tokens_per_minute"),
        "processes share requests and tokens; set tokens_per_minute, or divide this limit among the "
        "processes in [pace]",
    )

    url: Secret | None = attrs.field(default=None, converter=_as_secret)
    budget: Decimal | None = attrs.field(default=None, converter=_as_amount)
    max_pause: float = attrs.field(default=120.0, validator=positive_number)
    prefix: str = "headrace"
    timeout: float = attrs.field(default=0.5, validator=positive_number)
    processes: int | None = attrs.field(default=None, validator=positive_number)

    @property
    def budget_nano(self) -> int | None:
        """The budget in nano-USD, the unit in Redis."""
        return None if self.budget is None else int(self.budget * NANO)

    def policies(self) -> list[Policy]:
        """Return the policies for one client: `SharedPace`, and with a ``budget`` `SharedSpending`."""
        if self.url is None:
            return []
        import coredis  # noqa: F401 - takes a second, so it is not left to the first call

        member = AccountMember(RedisServer(self.url.reveal(), self.prefix, self.timeout), self)
        policies: list[Policy] = [SharedPace(member)]
        if self.budget is not None:
            policies.append(SharedSpending(member))
        return policies

    def limits_of(self, endpoint: str, model: str) -> GcraLimits:
        """Return the limits of a model at the endpoint of this name."""
        limits = self.per_minute(endpoint, model)
        return GcraLimits.per_minute(limits.requests, limits.tokens, self.burst)
