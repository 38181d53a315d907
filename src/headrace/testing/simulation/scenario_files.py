"""Reads a scenario from TOML and checks it completely before anything runs."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.testing.simulation.scenario import (
    LOADS,
    BrownOut,
    EndpointModel,
    ErrorBurst,
    Load,
    Outage,
    Scenario,
    Variant,
)
from headrace.testing.simulation.units import build
from headrace.testing.simulation.variant_settings import NOT_SIMULATED, assemble

_WINDOWS: dict[str, type[Outage] | type[BrownOut] | type[ErrorBurst]] = {
    "outages": Outage,
    "brown_outs": BrownOut,
    "errors": ErrorBurst,
}
_OWN = {field.name for field in attrs.fields(Scenario)}
_TABLES = {"load", "endpoint", "variants", *_WINDOWS}


def read_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario from a file.

    Args:
        path: A TOML file.

    Raises:
        SettingsError: The file cannot be read or is invalid; one line names the file and the key.
    """
    return parse_scenario(read_content(path), str(path))


def read_content(path: str | os.PathLike[str]) -> str:
    """The text in a file; raises `SettingsError`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise SettingsError(f"{path}: {reason}") from None


def parse_scenario(content: str, name: str) -> Scenario:
    """Read a scenario from TOML text.

    Args:
        content: The text.
        name: The name of the file, for messages.

    Raises:
        SettingsError: The text is invalid; one line names the file and the key.
    """
    try:
        return _scenario(tomllib.loads(content))
    except (tomllib.TOMLDecodeError, SettingsError) as error:
        raise SettingsError(f"{name}: {error}") from None


def with_settings(scenario: Scenario, path: str | os.PathLike[str]) -> Scenario:
    """The scenario with one more variant, with all settings of a headrace.toml.

    Settings for the address, the key and the transport are left out.

    Args:
        scenario: The scenario.
        path: A headrace.toml.

    Raises:
        SettingsError: The file cannot be read or is invalid.
    """
    content = read_content(path)
    try:
        table = tomllib.loads(content)
        settings = {name: value for name, value in table.items() if name not in NOT_SIMULATED}
        assemble(settings)
    except (tomllib.TOMLDecodeError, SettingsError) as error:
        raise SettingsError(f"{path}: {error}") from None
    taken = {variant.name for variant in scenario.variants}
    name = next(name for name in (Path(path).name, str(path)) if name not in taken)
    return attrs.evolve(scenario, variants=(*scenario.variants, Variant(name, settings)))


def _scenario(table: dict[str, Any]) -> Scenario:
    settings = {key: value for key, value in table.items() if key not in _OWN}
    assemble(settings, _OWN)
    for key in ("load", "endpoint"):
        if key not in table:
            raise SettingsError(f"[{key}] is missing")
    windows: dict[str, Any] = {}
    for key, kind in _WINDOWS.items():
        raw = table.get(key, [])
        if not isinstance(raw, list):
            raise SettingsError(f"{key}: must be tables like [[{key}]]")
        windows[key] = tuple([build(kind, each, f"[[{key}]] no. {n}: ") for n, each in enumerate(raw, 1)])
    return build(
        Scenario,
        {key: value for key, value in table.items() if key in _OWN - _TABLES},
        "",
        load=_load(table["load"]),
        endpoint=build(EndpointModel, table["endpoint"], "[endpoint] "),
        variants=_variants(table.get("variants", {}), settings),
        **windows,
    )


def _load(table: Any) -> Load:
    if not isinstance(table, Mapping):
        raise SettingsError("load: must be a table, [load]")
    rest = dict(table)
    kind = rest.pop("kind", None)
    if kind not in LOADS:
        raise SettingsError(f"[load] kind = {kind!r}: {nearest(str(kind), LOADS)}")
    return build(LOADS[kind], rest, "[load] ")


def _variants(tables: Any, settings: Mapping[str, Any]) -> tuple[Variant, ...]:
    """The variants: common settings, with each variant's own settings merged in section by section."""
    if not isinstance(tables, Mapping) or not all(isinstance(each, Mapping) for each in tables.values()):
        raise SettingsError("variants: must be tables of settings, like [variants.patient.retry]")
    if not tables:
        return (Variant("", settings),)
    variants = []
    for name, own in tables.items():
        merged = dict(settings)
        for key, value in own.items():
            both = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
            merged[key] = {**settings[key], **value} if both else value
        try:
            assemble(merged)
        except SettingsError as error:
            raise SettingsError(f"[variants.{name}] {error}") from None
        variants.append(Variant(name, merged))
    return tuple(variants)
