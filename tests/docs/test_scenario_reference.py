"""The reference of scenario files names every key with its default, and nothing that there is not."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from tests.docs.test_reference import page, rows, section

from headrace.testing.simulation.distributions import KINDS, Fixed
from headrace.testing.simulation.scenario import (
    ERROR_KINDS,
    OUTAGE_KINDS,
    BrownOut,
    BulkLoad,
    ClosedLoad,
    EndpointModel,
    ErrorBurst,
    OpenLoad,
    Outage,
    Scenario,
)
from headrace.testing.simulation.variant_settings import NOT_SIMULATED


def shown(default: Any) -> str:
    if default is attrs.NOTHING:
        return "required"
    if default is None:
        return "none"
    return f"`{default.value:g}`" if isinstance(default, Fixed) else f"`{json.dumps(default)}`"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## The scenario", Scenario),
        ('### `kind = "open"`', OpenLoad),
        ('### `kind = "closed"`', ClosedLoad),
        ('### `kind = "bulk"`', BulkLoad),
        ("## `[endpoint]`", EndpointModel),
        ("## `[[outages]]`", Outage),
        ("## `[[brown_outs]]`", BrownOut),
        ("## `[[errors]]`", ErrorBurst),
    ],
)
def test_every_key_is_documented_with_its_default(heading: str, kind: Any) -> None:
    fields = [field for field in attrs.fields(kind) if field.metadata]
    expected = {f"`{field.name.rstrip('_')}`": shown(field.default) for field in fields}
    assert {row[0]: row[2] for row in rows(section(page("scenarios.md"), heading))} == expected


def test_every_distribution_is_documented_with_its_keys() -> None:
    expected = {f"`{name}`": ", ".join(f"`{key}`" for key in keys) for name, (_, keys) in KINDS.items()}
    assert {row[0]: row[1] for row in rows(section(page("scenarios.md"), "## Distributions"))} == expected


def test_kinds_and_excluded_settings_are_documented() -> None:
    text = page("scenarios.md")
    assert all(f'`"{word}"`' in section(text, "## `[[outages]]`") for word in OUTAGE_KINDS)
    assert all(f'"{word}"' in section(text, "## `[[errors]]`") for word in ERROR_KINDS)
    assert all(f"`{name}`" in section(text, "## Settings") for name in NOT_SIMULATED)


def test_every_part_of_a_scenario_has_a_section() -> None:
    text = page("scenarios.md")
    parts = {field.name for field in attrs.fields(Scenario) if not field.metadata}
    assert all(f"`[{part}" in text or f"`[[{part}]]`" in text for part in parts), parts
