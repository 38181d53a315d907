"""All settings of one client, and the conversion of their values to typed classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import attrs
import msgspec

from headrace._support.numbers import as_number
from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.keys import Secret
from headrace.settings.core_settings import CoreSettings

T = TypeVar("T")

PREFIX = "HEADRACE_"
"""The prefix of headrace's environment variables."""

_SECRETS = frozenset({"api_key", "cert_password", "proxy"})
"""Settings whose values are not shown in messages."""


@attrs.define
class Settings:
    """All settings of one client: those of the core, and a section for each plugin that claims one.

    Attributes:
        core: The settings of the core.
    """

    core: CoreSettings
    _sections: dict[str, dict[str, Any]]
    _environment: dict[str, str]
    _keywords: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _claimed: dict[str, list[str]] = attrs.field(factory=dict, init=False)

    def section(self, name: str, kind: type[T]) -> T:
        """Claim a section and build an object from it.

        Args:
            name: The name of the section.
            kind: An attrs class; values are converted to the annotated types of its attributes.

        Raises:
            SettingsError: A key is unknown, or a value has the wrong type or is out of range.

        Example:
            ```python
            @headrace.hookimpl
            def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
                return [settings.section("audit", Audit)]
            ```
        """
        fields = {field.name: field for field in attrs.fields(kind) if field.init}  # type: ignore[arg-type]
        self._claimed[name] = list(fields)
        values = dict(self._sections.get(name, {}))
        prefix = f"{name.upper()}_"
        values |= {
            key.removeprefix(prefix).lower(): text
            for key, text in self._environment.items()
            if key.startswith(prefix)
        }
        values |= self._keywords.get(name, {})
        return build(kind, values, f"[{name}] ")

    def is_claimed(self, name: str) -> bool:
        """Whether a plugin has claimed the section."""
        return name in self._claimed

    def check_claimed(self, also: Iterable[str] = ()) -> None:
        """Check that all sections and variables were claimed.

        Args:
            also: Further names to suggest for an unknown section.

        Raises:
            SettingsError: No plugin has claimed a section or variable.
        """
        for name in [*self._sections, *self._keywords]:
            if name not in self._claimed:
                known = [*self._claimed, *core_keys(), *also]
                raise SettingsError(f"no plugin has settings called {name!r}; {_hint(name, name, known)}")
        known = [f"{PREFIX}{key.upper()}" for key in core_keys()]
        known += [f"{PREFIX}{name}_{key}".upper() for name, keys in self._claimed.items() for key in keys]
        prefixes = tuple(f"{name.upper()}_" for name in self._claimed)
        for key in self._environment:
            if not key.startswith(prefixes):
                name = PREFIX + key
                plugin = key.partition("_")[0].lower()
                raise SettingsError(f"unknown environment variable {name}; {_hint(plugin, name, known)}")


def _hint(plugin: str, name: str, known: Iterable[str]) -> str:
    """The end of a message: the plugin to install if headrace publishes it, else the nearest known name."""
    from headrace.settings.known_plugins import missing_plugin

    distribution = missing_plugin(plugin)
    return nearest(name, known) if distribution is None else f"install {distribution}"


def core_keys() -> list[str]:
    """The names of the core's settings."""
    return [field.name for field in attrs.fields(CoreSettings)]


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make an attrs object from values, converted to its annotated types; raises `SettingsError`."""
    known = {field.name: field for field in attrs.fields(kind) if field.init}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    converted = {}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{where}unknown setting {key!r}; {nearest(key, known)}")
        try:
            converted[key] = msgspec.convert(_plain(value), hints[key], strict=False, dec_hook=_convert)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            shown = "" if key in _SECRETS else f" = {value!r}"
            raise SettingsError(f"{where}{key}{shown}: {error}") from None
    return kind(**converted)


def _plain(value: Any) -> Any:
    """A string or number as one of Python's own; any other value unchanged."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bool, int, float)):
        return value
    number = as_number(value)
    return value if number is None else number


def _convert(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected {kind.__name__}")
