"""All settings of one client, and how values of files, variables and keywords become classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import attrs
import msgspec

from headrace._support.numbers import as_number
from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.keys import Secret
from headrace.settings.core import CoreSettings

T = TypeVar("T")

PREFIX = "HEADRACE_"
"""What the names of headrace's variables begin with."""

_SECRETS = frozenset({"api_key", "cert_password", "proxy"})
"""Settings whose value is not shown."""


@attrs.define
class Settings:
    """All settings of one client: the core's, and a section for each plugin that claims one."""

    core: CoreSettings
    _sections: dict[str, dict[str, Any]]
    _environment: dict[str, str]
    _keywords: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _claimed: dict[str, list[str]] = attrs.field(factory=dict, init=False)

    def section(self, name: str, kind: type[T]) -> T:
        """Claim the section called ``name`` and build ``kind``, an attrs class, from it.

        Values are converted to the annotated types (text from the environment included). Raises
        `SettingsError` for an unknown key, naming the nearest known one, and for a value of the wrong kind.
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
        """True once a plugin has claimed the section called ``name``."""
        return name in self._claimed

    def check_claimed(self, also: Iterable[str] = ()) -> None:
        """Raise `SettingsError` for sections and variables that no plugin has claimed.

        ``also``: what else may have been meant by a section's name.
        """
        for name in [*self._sections, *self._keywords]:
            if name not in self._claimed:
                known = [*self._claimed, *core_keys(), *also]
                raise SettingsError(f"no plugin has settings called {name!r}; {nearest(name, known)}")
        known = [f"{PREFIX}{key.upper()}" for key in core_keys()]
        known += [f"{PREFIX}{name}_{key}".upper() for name, keys in self._claimed.items() for key in keys]
        prefixes = tuple(f"{name.upper()}_" for name in self._claimed)
        for key in self._environment:
            if not key.startswith(prefixes):
                name = PREFIX + key
                raise SettingsError(f"unknown environment variable {name}; {nearest(name, known)}")


def core_keys() -> list[str]:
    return [field.name for field in attrs.fields(CoreSettings)]


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
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
    """A string or number of another library's as one of Python's, anything else as it is."""
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
