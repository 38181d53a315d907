"""Rate limits as settings: for every model at every endpoint, with exceptions by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import attrs

from headrace._support.text import nearest
from headrace.errors import SettingsError

_KEYS = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)


class PerMinute(NamedTuple):
    """The limits of a model per minute; None for no limit.

    Attributes:
        requests: Requests.
        tokens: Input and output tokens together.
        input_tokens: Input tokens.
        output_tokens: Output tokens.
    """

    requests: float | None = None
    tokens: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


def positive_number(instance: RateLimits, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator for a number above 0, or None."""
    _check(instance.name, attribute.name, value)


def _check(whose: str, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise SettingsError(f"{whose}: {name}={value!r}: must be a number above 0")


@attrs.define(eq=False, kw_only=True)
class RateLimits:
    """Base class for policies with rate limits; a subclass sets ``name`` to that of its section. Since 0.1.

    Attributes:
        requests_per_minute: For each model at each endpoint (default: no limit).
        tokens_per_minute: Input and output together, for each model at each endpoint (default: no limit).
        input_tokens_per_minute: For each model at each endpoint (default: no limit).
        output_tokens_per_minute: For each model at each endpoint (default: no limit).
        limits: Tables of the four limits above by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``, which
            override them. For each limit, the first of these three tables that contains it applies.
        burst: Burst size: how many seconds' worth of a limit may be used at once (default 1).
        unsupported: Limits that a subclass does not support, each with a hint at an alternative.

    Raises:
        SettingsError: A value is not above 0, or ``limits`` has an unknown or unsupported limit.
    """

    name: ClassVar[str]
    unsupported: ClassVar[Mapping[str, str]] = {}

    requests_per_minute: float | None = attrs.field(default=None, validator=positive_number)
    tokens_per_minute: float | None = attrs.field(default=None, validator=positive_number)
    input_tokens_per_minute: float | None = attrs.field(default=None, validator=positive_number)
    output_tokens_per_minute: float | None = attrs.field(default=None, validator=positive_number)
    limits: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    burst: float = attrs.field(default=1.0, validator=positive_number)

    def __attrs_post_init__(self) -> None:
        for key in _KEYS:
            if getattr(self, key) is not None:
                self._check_supported(key, key)

    @limits.validator
    def _are_known(self, attribute: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
        for name, table in value.items():
            where = f"limits: {name!r}"
            if not isinstance(table, Mapping):
                raise SettingsError(f"{self.name}: {where} must be a table, like {{{_KEYS[0]} = 500}}")
            for key, limit in table.items():
                if key not in _KEYS:
                    raise SettingsError(f"{self.name}: {where}: unknown key {key!r}; {nearest(key, _KEYS)}")
                _check(self.name, f"{where}: {key}", limit)
                self._check_supported(key, f"{where}: {key}")

    def _check_supported(self, key: str, where: str) -> None:
        if key in self.unsupported:
            raise SettingsError(f"{self.name}: {where}: not supported here; {self.unsupported[key]}")

    def per_minute(self, endpoint: str, model: str) -> PerMinute:
        """The limits of a model at an endpoint.

        Args:
            endpoint: The name of the endpoint.
            model: The name of the model at this endpoint.
        """
        tables = [self.limits.get(name, {}) for name in (f"{endpoint}/{model}", model, endpoint)]
        return PerMinute(
            *[next((table[key] for table in tables if key in table), getattr(self, key)) for key in _KEYS]
        )
