"""Loads settings from a file, the environment and keywords; later ones override earlier ones.

`headrace.toml`, or the table `[tool.headrace]` of `pyproject.toml`, is searched for in the current folder and
its parents. Only the file in the closest folder is read. In the environment, `HEADRACE_MAX_IN_FLIGHT` sets
`max_in_flight`, and `HEADRACE_RETRY_ATTEMPTS` sets `attempts` in the section `retry`. `OPENAI_BASE_URL` and
`OPENAI_API_KEY` are read as well.

The keys of the core are the attributes of `CoreSettings`. A section belongs to the plugin that claims it. An
unknown key is an error that names the most similar known key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from headrace._support.text import nearest
from headrace.endpoint import Endpoint, models_by_name
from headrace.errors import SettingsError
from headrace.settings.core_settings import CoreSettings
from headrace.settings.sections import PREFIX, Settings, build, core_keys

if TYPE_CHECKING:
    from pathlib import Path

SHARED_FOLDER = "HEADRACE_SHARED_FOLDER"
"""The environment variable with a folder that the processes of one run share; not a setting."""

SPENT_BEFORE = "spent-before"
"""The file in that folder with the cost of earlier sessions of the run, in USD."""


def load_settings(
    keywords: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Merge the settings file, the environment and keywords.

    Args:
        keywords: Settings by name; a value of None means that it is not set.
        environ: The environment (default: that of the process).
        directory: Where the search for a file starts (default: the current folder).

    Raises:
        SettingsError: A setting is not valid.
    """
    environ = os.environ if environ is None else environ
    core: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    from headrace.settings.settings_file import (
        read_settings_file,  # its imports are not for `import headrace`
    )

    source, table = read_settings_file(directory)
    if "api_key" in table:
        raise SettingsError(f"{source}: a key must not be in a file; set OPENAI_API_KEY instead")
    if "cert_password" in table:
        raise SettingsError(f"{source}: a password must not be in a file; set HEADRACE_CERT_PASSWORD instead")
    if "@" in str(table.get("proxy", "")):
        raise SettingsError(f"{source}: a password must not be in a file; set HEADRACE_PROXY instead")
    _sort_in(table, core, sections, f"{source}: ")

    for variable, key in (("OPENAI_BASE_URL", "base_url"), ("OPENAI_API_KEY", "api_key")):
        if environ.get(variable):
            core[key] = environ[variable]
    rest = {key.removeprefix(PREFIX): text for key, text in environ.items() if key.startswith(PREFIX)}
    rest.pop(SHARED_FOLDER.removeprefix(PREFIX), None)
    for key in core_keys():
        if key.upper() in rest:
            text = rest.pop(key.upper())
            core[key] = _names(text) if key == "policies" else text

    if keywords.get("base_url") is not None or environ.get("HEADRACE_BASE_URL"):
        # This replaces several endpoints. OPENAI_BASE_URL does not, because it is meant for all programs.
        core.pop("endpoints", None)
    keyword_sections: dict[str, dict[str, Any]] = {}
    _sort_in({key: value for key, value in keywords.items() if value is not None}, core, keyword_sections, "")
    endpoints = core.pop("endpoints", None)
    built = build(CoreSettings, core, "")
    if endpoints is not None:
        if keywords.get("base_url") is not None:
            raise SettingsError("base_url= names one endpoint and endpoints= several; remove one of them")
        built = attrs.evolve(built, endpoints=_endpoints(endpoints, environ))
    return Settings(built, sections, rest, keyword_sections)


def settings_in(table: Mapping[str, Any]) -> Settings:
    """The settings of a table without ``endpoints``, from neither a file nor the environment."""
    core: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    _sort_in(table, core, sections, "")
    return Settings(build(CoreSettings, core, ""), sections, {})


def _endpoints(raw: Any, environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Endpoints from a list, or from tables by name; ``api_key_env`` in a table names the variable with the
    key.
    """
    if isinstance(raw, (list, tuple)) and raw and all(isinstance(each, Endpoint) for each in raw):
        return tuple(raw)
    if not isinstance(raw, Mapping) or not all(isinstance(each, Mapping) for each in raw.values()):
        raise SettingsError("endpoints: must be tables like [endpoints.NAME], or a list of headrace.Endpoint")
    endpoints = []
    for name, table in raw.items():
        values, where = {"name": name} | dict(table), f"[endpoints.{name}] "
        if "api_key" in values:
            raise SettingsError(f"{where}a key must not be here; set api_key_env to the name of its variable")
        if "base_url" not in values:
            raise SettingsError(f"{where}base_url is missing")
        if "api_key_env" in values:
            variable = values.pop("api_key_env")
            if not isinstance(variable, str) or not environ.get(variable):
                raise SettingsError(f"{where}api_key_env: the variable {variable!r} is not set")
            values["api_key"] = environ[variable]
        if isinstance(values.get("models"), list):
            values["models"] = models_by_name(values["models"])
        endpoints.append(build(Endpoint, values, where))
    return tuple(endpoints)


def _sort_in(
    table: Mapping[str, Any], core: dict[str, Any], sections: dict[str, dict[str, Any]], source: str
) -> None:
    for key, value in table.items():
        if key in core_keys():
            core[key] = value
        elif isinstance(value, Mapping):
            sections[key] = sections.get(key, {}) | dict(value)
        else:
            raise SettingsError(f"{source}unknown setting {key!r}; {nearest(key, core_keys())}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
