"""The limits of a run that can be changed while it goes on: calls in flight, and those of policies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from headrace._support.text import nearest, quoted
from headrace.bulk.file_limit import raise_file_limit
from headrace.bulk.policy_limits import LimitValue, policy_limits, set_policy_limit
from headrace.errors import ControlRefused, HeadraceError
from headrace.settings.known_plugins import missing_plugin

MAX_IN_FLIGHT = "max-in-flight"

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
        return {MAX_IN_FLIGHT: self.max_in_flight, **policy_limits(self._policies)}

    def change(self, name: str, value: LimitValue) -> tuple[LimitValue, LimitValue]:
        """Change a limit; returns the value before and the new one.

        Raises:
            ControlRefused: The value is not valid, or nothing in this run has such a limit.
        """
        if isinstance(value, str) and value.lower() in ("", "none"):
            value = None
        old = self.values().get(name)
        if name == MAX_IN_FLIGHT:
            self._set_max_in_flight(value)
        else:
            self._set_policy_limit(name, value)
        return old, self.values()[name]

    def _set_max_in_flight(self, value: LimitValue) -> None:
        if not hasattr(self._executor, "max_in_flight"):
            raise ControlRefused(f"{MAX_IN_FLIGHT}: engine {self._engine} has no such limit")
        try:
            total = int(str(value))
        except ValueError:
            total = 0
        if total < 1:
            raise ControlRefused(f"{MAX_IN_FLIGHT}={_shown(value)}: must be an integer of at least 1")
        try:
            raise_file_limit(total)
            self._executor.max_in_flight = total
        except (HeadraceError, ValueError, OverflowError) as error:
            raise ControlRefused(f"{MAX_IN_FLIGHT}={total}: {error}") from error

    def _set_policy_limit(self, name: str, value: LimitValue) -> None:
        if name not in policy_limits(self._policies):
            raise ControlRefused(self._unknown(name))
        try:
            set_policy_limit(self._policies, name, value)
        except HeadraceError as error:
            named = name.replace("-", "_") in str(error)  # as most policies name their setting themselves
            raise ControlRefused(str(error) if named else f"{name}={_shown(value)}: {error}") from error
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


def _shown(value: LimitValue) -> str:
    return "none" if value is None else quoted(value) if isinstance(value, str) else str(value)
