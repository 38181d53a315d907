"""Rate limits as settings have them: for every model at every endpoint, and other ones by name."""

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
    """What a model is allowed a minute; None where no limit is set. ``tokens``: input and output together."""

    requests: float | None = None
    tokens: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


def positive_number(instance: RateLimits, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator for numbers above 0, and None."""
    _check(instance.name, attribute.name, value)


def _check(whose: str, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise SettingsError(f"{whose}: {name}={value!r}: must be a number above 0")


@attrs.define(eq=False, kw_only=True)
class RateLimits:
    """The settings of whatever keeps to rate limits: derive from it, and give it a section's ``name``.

    ``requests_per_minute``, ``tokens_per_minute`` (input and output together), ``input_tokens_per_minute``,
    ``output_tokens_per_minute``: for each model at each endpoint (default None: not set).
    ``limits``: other ones, by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``; of each key, the first of
    these that has it counts. ``burst``: how many seconds' worth of a limit may go at once (default 1).
    A class that cannot keep to some of them names them in ``unsupported``, with what to do instead.

    Raises `SettingsError` for a value that is not above 0, an unknown key in ``limits``, and an unsupported
    one. Since 0.1.
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
    def _known(self, attribute: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
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
        """What a model, by its name there, is allowed a minute at the endpoint of this name."""
        tables = [self.limits.get(name, {}) for name in (f"{endpoint}/{model}", model, endpoint)]
        return PerMinute(
            *[next((table[key] for table in tables if key in table), getattr(self, key)) for key in _KEYS]
        )
