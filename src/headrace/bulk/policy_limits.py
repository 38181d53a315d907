"""The limits of policies that can be changed while calls are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

LimitValue: TypeAlias = int | float | str | None
"""A limit, as a number or as text; None for no limit."""


@runtime_checkable
class AdjustableLimits(Protocol):
    """The part of a policy that has limits which can be changed while calls are made.

    Names are those of the settings, with hyphens. A change takes effect at once, also for calls that wait.
    """

    def adjustable_limits(self) -> Mapping[str, LimitValue]:
        """The limits and their values; None for a limit that is not set."""

    def set_limit(self, name: str, value: LimitValue, /) -> None:
        """Change a limit; ``value`` is a number or its text, or None for no limit.

        Raises:
            SettingsError: The value is not valid; nothing is changed.
        """


def policy_limits(policies: Sequence[Any]) -> dict[str, LimitValue]:
    """The limits of all policies by name; None for one that is not set."""
    found: dict[str, LimitValue] = {}
    for policy in policies:
        if isinstance(policy, AdjustableLimits):
            found.update(policy.adjustable_limits())
    return found


def set_policy_limit(policies: Sequence[Any], name: str, value: LimitValue) -> None:
    """Change a limit in all policies that have it.

    Raises:
        SettingsError: The value is not valid.
    """
    for policy in policies:
        if isinstance(policy, AdjustableLimits) and name in policy.adjustable_limits():
            policy.set_limit(name, value)
