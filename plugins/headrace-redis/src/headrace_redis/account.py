"""The settings of an account, and the policies that share it."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

import attrs

from headrace import Policy, RateLimits, Secret, SettingsError
from headrace.plugins import positive_number
from headrace_redis.gcra import Limits
from headrace_redis.link import Link
from headrace_redis.pace import SharedPace
from headrace_redis.purse import NANO
from headrace_redis.server import Server
from headrace_redis.spending import SharedSpending


def _as_secret(url: str | Secret | None) -> Secret | None:
    return Secret(url) if isinstance(url, str) else url


def _amount(value: Decimal | int | float | str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except decimal.InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"redis: budget={value!r}: must be an amount in USD")
    return amount


@attrs.define(eq=False, kw_only=True)
class Account(RateLimits):
    """What all processes share that use one account, over a Redis or Valkey server.

    ``url``: the server, like ``redis://:password@host:6379/0``, ``rediss://…`` or ``unix://…``; without one
    (the default) there are no policies. ``requests_per_minute``, ``tokens_per_minute``: of all processes
    together, for each model at each endpoint (default: no limit); input and output tokens are not limited
    each by itself. ``limits``: other ones, by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``; of each
    key, the first of these that has it counts. ``burst``: how many seconds' worth of a limit may go at once
    (default 1), but always one call. ``budget``: USD that all processes together may spend (default: no
    limit), by what headrace-cost says. ``max_pause``: the longest pause in seconds that is waited for after a
    429 (default 120); in a longer one calls fail with `CircuitOpen`. ``prefix``: what all keys begin with
    (default "headrace"). ``timeout``: seconds for a connection or an exchange, after which Redis is taken to
    be away (default 0.5). ``processes``: how many share the limits while Redis is away (default: as many as
    there were of late; Redis must be there at the start then).

    Raises `SettingsError` for a value out of range and an unknown key in ``limits``; and when a client is
    opened, for a login that is refused, and for a server that cannot be used where ``processes`` is not set.
    """

    name = "redis"
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("input_tokens_per_minute", "output_tokens_per_minute"),
        "processes share requests and tokens; set tokens_per_minute, or divide this one among the processes "
        "in [pace]",
    )

    url: Secret | None = attrs.field(default=None, converter=_as_secret)
    budget: Decimal | None = attrs.field(default=None, converter=_amount)
    max_pause: float = attrs.field(default=120.0, validator=positive_number)
    prefix: str = "headrace"
    timeout: float = attrs.field(default=0.5, validator=positive_number)
    processes: int | None = attrs.field(default=None, validator=positive_number)

    @property
    def budget_nano(self) -> int | None:
        """The budget in billionths of a USD, which is how Redis counts."""
        return None if self.budget is None else int(self.budget * NANO)

    def policies(self) -> list[Policy]:
        """The policies for one client: `SharedPace`, and with a ``budget`` `SharedSpending`."""
        if self.url is None:
            return []
        import coredis  # noqa: F401 - takes a second, and that had better not be the first call's

        link = Link(Server(self.url.reveal(), self.prefix, self.timeout), self)
        policies: list[Policy] = [SharedPace(link)]
        if self.budget is not None:
            policies.append(SharedSpending(link))
        return policies

    def limits_of(self, endpoint: str, model: str) -> Limits:
        """What is allowed of a model at the endpoint of this name."""
        allowed = self.per_minute(endpoint, model)
        return Limits.a_minute(allowed.requests, allowed.tokens, self.burst)
