"""Creates the policies and the core settings of a client from the settings of a variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import attrs

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.pipeline.pipeline import sort_policies
from headrace.pipeline.plugin_manager import Plugins
from headrace.policies import Policy, Stage
from headrace.settings import CoreSettings, settings_in
from headrace.testing.simulation.scenario import Scenario

NOT_SIMULATED = frozenset({"api_key", "base_url", "endpoints", "insecure", "transport"})
"""Settings for the address, the key and the transport; the simulation has its own."""

SETTINGS = frozenset(field.name for field in attrs.fields(CoreSettings)) - NOT_SIMULATED
"""The core's settings that a variant may have, in addition to sections of plugins."""


def assemble(
    settings: Mapping[str, Any], also: Iterable[str] = (), plugins: Plugins | None = None
) -> tuple[CoreSettings, list[Policy]]:
    """The core settings and the policies, outermost first, of ``plugins`` (by default the installed ones).

    Policies of the stage OBSERVE are left out because a simulation has no log. Raises `SettingsError` for
    invalid settings; ``also`` are further known names, for suggestions.
    """
    for name, value in settings.items():
        if name in NOT_SIMULATED:
            raise SettingsError(f"{name} cannot be set: the endpoint is simulated")
        if name not in SETTINGS and not isinstance(value, Mapping):
            raise SettingsError(f"unknown key {name!r}; {nearest(name, {*SETTINGS, *also})}")
    parsed = settings_in(settings)
    policies = (plugins or Plugins()).policies(parsed)
    parsed.check_claimed(also)
    return parsed.core, [policy for policy in sort_policies(policies) if policy.stage is not Stage.OBSERVE]


def seed_policies(policies: Iterable[Policy], scenario: Scenario, process: int) -> None:
    """Seed the policies of a process.

    By convention a policy with randomness has its `random.Random` as ``rng``.
    """
    for policy in policies:
        rng = getattr(policy, "rng", None)
        if isinstance(rng, Random):
            rng.setstate(scenario.random_stream(policy.name, process).getstate())
