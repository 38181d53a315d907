"""The limits of a run that can be changed while it goes on: calls in flight, and those of policies."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from headrace._support.numbers import as_number
from headrace._support.text import nearest, quoted
from headrace.bulk.file_limit import raise_file_limit
from headrace.bulk.policy_limits import LimitValue, policy_limits, set_policy_limit
from headrace.errors import ControlRefused, HeadraceError
from headrace.settings.core_settings import MOST_IN_FLIGHT
from headrace.settings.known_plugins import missing_plugin

MAX_IN_FLIGHT = "max-in-flight"

_TOO_LARGE = 10**30
_BITS = 63

_PLUGINS = {"budget": "cost", "requests-per-minute": "pace", "tokens-per-minute": "pace"}
"""The plugins that have well-known limits."""


class RunLimits:
    """The limits of a run.

    Args:
        executor: Makes the calls; it may have a ``max_in_flight`` that can be set.
        policies: The policies of the client, whose `AdjustableLimits` are limits of the run.
        engine: The name of the engine, None for ordinary calls.
    """

    def __init__(self, executor: object, policies: Sequence[Any], engine: str | None) -> None:
        self._executor = executor
        self._policies = policies
        self._engine = engine

    @property
    def max_in_flight(self) -> int | None:
        """The most calls in flight, None if there is no such limit."""
        total = getattr(self._executor, "max_in_flight", None)
        return None if total is None or math.isinf(total) else int(total)

    def values(self) -> dict[str, LimitValue]:
        """The limits by name; None for one that is not set."""
        limits = policy_limits(self._policies)
        return {MAX_IN_FLIGHT: self.max_in_flight} | {name: _as_json(limits[name]) for name in limits}

    def change(self, name: str, value: LimitValue) -> tuple[LimitValue, LimitValue]:
        """Change a limit; returns the value before and the new one.

        Raises:
            ControlRefused: The value is not valid, or nothing in this run has such a limit.
        """
        if not isinstance(name, str):
            raise ControlRefused(f"the name of a limit must be a text, not a {type(name).__name__}")
        value = _plain_value(name, value)
        old = self.values().get(name)
        if name == MAX_IN_FLIGHT:
            self._set_max_in_flight(value)
        else:
            self._set_policy_limit(name, value)
        return old, self.values()[name]

    def _set_max_in_flight(self, value: LimitValue) -> None:
        if not hasattr(self._executor, "max_in_flight"):
            raise ControlRefused(f"{MAX_IN_FLIGHT}: engine {self._engine} has no such limit")
        if isinstance(value, str) and re.fullmatch("[0-9]{1,15}", value):
            value = int(value)
        total = value if isinstance(value, int) else 0
        if not 1 <= total <= MOST_IN_FLIGHT:
            raise ControlRefused(
                f"{MAX_IN_FLIGHT}={_shown(value)}: must be an integer from 1 to {MOST_IN_FLIGHT:,}"
            )
        try:
            raise_file_limit(total)
            self._executor.max_in_flight = total
        except HeadraceError as error:
            raise ControlRefused(f"{MAX_IN_FLIGHT}={total}: {error}") from error

    def _set_policy_limit(self, name: str, value: LimitValue) -> None:
        if name not in policy_limits(self._policies):
            raise ControlRefused(self._unknown(name))
        try:
            set_policy_limit(self._policies, name, value)
        except (HeadraceError, ValueError, TypeError, ArithmeticError) as error:
            raise ControlRefused(f"{name}={_shown(value)}: {_without_names(error)}") from error
        set_limit = getattr(self._executor, "set_limit", None)
        if set_limit is not None:
            set_limit(name, value)

    def _unknown(self, name: str) -> str:
        plugin = _PLUGINS.get(name)
        if plugin is None:
            return f"{quoted(name)}: no such limit; {nearest(name, {*self.values(), *_PLUGINS})}"
        if missing := missing_plugin(plugin):
            return f"{name}: no policy of this run has it; pip install {missing}, and begin the run again"
        return f"{name}: no policy of this run has it; the client was made without the policy {plugin!r}"


def _plain_value(name: str, value: object) -> LimitValue:
    """A value as a message can hold it: text, an integer or a finite float; None for no limit.

    Raises:
        ControlRefused: It is of another type, or a number without end or with too many digits.
    """
    if value is None or isinstance(value, str):
        return None if value is None or value.lower() in ("", "none") else value
    number = as_number(value)
    if number is None:
        raise ControlRefused(
            f"{quoted(name)}: must be a number, its text or None, not a {type(value).__name__}"
        )
    is_nan = number.is_nan() if isinstance(number, Decimal) else number != number
    if is_nan or not -_TOO_LARGE < number < _TOO_LARGE:
        raise ControlRefused(f"{quoted(name)}: must be a finite number of at most 30 digits")
    return str(number) if isinstance(number, Decimal) else number


def _as_json(value: LimitValue) -> LimitValue:
    """A value that JSON can hold: of an integer with more than 64 bits, the float."""
    return float(value) if isinstance(value, int) and value.bit_length() > _BITS else value


def _without_names(error: Exception) -> str:
    """The message of a policy's error, without the names of the policy and the setting before it."""
    return re.sub(r"^\w+: (\w+=\S+: )?", "", str(error))


def _shown(value: LimitValue) -> str:
    return "none" if value is None else quoted(value) if isinstance(value, str) else str(value)
