"""Settings: from a file, the environment and keywords, the last of them winning.

`headrace.toml`, or the table `[tool.headrace]` of `pyproject.toml`, is looked for in the current folder
and its parents; the nearest wins and is the only one read. The environment says `HEADRACE_MAX_IN_FLIGHT`
for `max_in_flight` and `HEADRACE_RETRY_ATTEMPTS` for `attempts` in the section `retry`; besides,
`OPENAI_BASE_URL` and `OPENAI_API_KEY` are honoured.

The core's own keys are the attributes of `CoreSettings`. A section belongs to the plugin that claims it;
what nobody claims is an error that names the nearest known key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import attrs
import msgspec

from headrace.calls import Timeout, positive_seconds
from headrace.endpoint import Endpoint, models_by_name
from headrace.errors import SettingsError, nearest
from headrace.keys import Secret
from headrace.wire.json_values import number_of

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
_PREFIX = "HEADRACE_"

_SECRETS = frozenset({"api_key", "cert_password", "proxy"})
"""Settings whose value is not shown."""

SHARED_FOLDER = "HEADRACE_SHARED_FOLDER"
"""The variable that names a folder to the processes of one run, for what their policies share; no setting."""

SPENT_BEFORE = "spent-before"
"""The file in that folder that says what earlier sessions of the run spent, in USD."""


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"{attribute.name}={value}: must be at least 1")


@attrs.frozen(kw_only=True)
class CoreSettings:
    """The keys that belong to no plugin.

    ``base_url`` and ``api_key`` say which endpoint, or ``endpoints`` which several; ``model`` is sent where
    a request names none; ``max_in_flight`` is how many calls may be under way at once; ``timeout`` and the
    four timeouts below it are seconds per attempt (see `Timeout`); ``max_response_bytes`` bounds one answer,
    decompressed; ``transport`` is "auto" (native, or httpx on Windows and where a URL goes by a proxy of
    SOCKS or https), "native", "httpx", or the name that a plugin's transport answers to; ``policies`` names the policies to
    use of those installed (default: all of them); ``insecure`` allows sending a key over plain http to a
    public host; ``proxy`` is the URL of a proxy for all endpoints (None: as the environment says);
    ``cert`` is a PEM file with a certificate to show to servers that ask for one, ``cert_key`` its key where
    that is in a file of its own, ``cert_password`` what opens the key; ``http2`` is "auto" (HTTP/2 where an
    https server chooses it and ngh2 is installed, else HTTP/1.1), true (HTTP/2 only) or false (HTTP/1.1
    only), for endpoints that do not say it themselves.
    """

    base_url: str = OPENAI_URL
    api_key: Secret | None = None
    endpoints: tuple[Endpoint, ...] = ()
    model: str | None = None
    max_in_flight: int = attrs.field(default=100, validator=_at_least_one)
    timeout: float | None = attrs.field(default=60.0, validator=positive_seconds)
    connect_timeout: float | None = attrs.field(default=10.0, validator=positive_seconds)
    write_timeout: float | None = attrs.field(default=None, validator=positive_seconds)
    read_timeout: float | None = attrs.field(default=None, validator=positive_seconds)
    stall_timeout: float | None = attrs.field(default=60.0, validator=positive_seconds)
    max_response_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_at_least_one)
    transport: str = "auto"
    http2: bool | Literal["auto"] = "auto"
    proxy: Secret | None = None
    cert: str | None = None
    cert_key: str | None = None
    cert_password: Secret | None = None
    policies: tuple[str, ...] | None = None
    insecure: bool = False

    @property
    def client_certificate(self) -> tuple[str, str | None, Secret | None] | None:
        """Certificate, key and password, None where there is none.

        Raises `SettingsError` for a key or password without a certificate.
        """
        if self.cert is not None:
            return self.cert, self.cert_key, self.cert_password
        for name in ("cert_key", "cert_password"):
            if getattr(self, name) is not None:
                raise SettingsError(f"{name} has no effect without cert, the file of the certificate")
        return None

    def timeouts(self) -> Timeout:
        """The five timeouts as the transport wants them."""
        return Timeout(
            self.timeout,
            connect=self.connect_timeout,
            write=self.write_timeout,
            read=self.read_timeout,
            stall=self.stall_timeout,
        )

    def checked_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints these settings name: ``endpoints``, or the one of ``base_url`` and ``api_key``.

        Raises `SettingsError` as `Endpoint.checked` does, and for two of one name.
        """
        if not self.endpoints:
            return (Endpoint(self.base_url, self.api_key).checked(insecure=self.insecure),)
        names = [endpoint.name for endpoint in self.endpoints]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"two endpoints are called {name!r}; give each a name of its own")
        return tuple([_checked(endpoint, self.insecure) for endpoint in self.endpoints])


def _checked(endpoint: Endpoint, insecure: bool) -> Endpoint:
    try:
        return endpoint.checked(insecure=insecure)
    except SettingsError as error:
        raise SettingsError(f"endpoint {endpoint.name!r}: {error}") from None


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
        return _build(kind, values, f"[{name}] ")

    def is_claimed(self, name: str) -> bool:
        """True once a plugin has claimed the section called ``name``."""
        return name in self._claimed

    def check_claimed(self, also: Iterable[str] = ()) -> None:
        """Raise `SettingsError` for sections and variables that no plugin has claimed.

        ``also``: what else may have been meant by a section's name.
        """
        for name in [*self._sections, *self._keywords]:
            if name not in self._claimed:
                known = [*self._claimed, *_core_keys(), *also]
                raise SettingsError(f"no plugin has settings called {name!r}; {nearest(name, known)}")
        known = [f"{_PREFIX}{key.upper()}" for key in _core_keys()]
        known += [f"{_PREFIX}{name}_{key}".upper() for name, keys in self._claimed.items() for key in keys]
        prefixes = tuple(f"{name.upper()}_" for name in self._claimed)
        for key in self._environment:
            if not key.startswith(prefixes):
                name = _PREFIX + key
                raise SettingsError(f"unknown environment variable {name}; {nearest(name, known)}")


def load_settings(
    keywords: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Merge file, environment and ``keywords``; None as a keyword's value means that it was not given.

    ``environ`` and ``directory`` default to the process's own. Raises `SettingsError`.
    """
    environ = os.environ if environ is None else environ
    core: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    source, table = _read_file(Path.cwd() if directory is None else directory)
    if "api_key" in table:
        raise SettingsError(f"{source}: a key does not belong in a file; set OPENAI_API_KEY instead")
    if "cert_password" in table:
        raise SettingsError(f"{source}: a password does not belong in a file; set HEADRACE_CERT_PASSWORD")
    if "@" in str(table.get("proxy", "")):
        raise SettingsError(f"{source}: a password does not belong in a file; set HEADRACE_PROXY")
    _sort_in(table, core, sections, f"{source}: ")

    for variable, key in (("OPENAI_BASE_URL", "base_url"), ("OPENAI_API_KEY", "api_key")):
        if environ.get(variable):
            core[key] = environ[variable]
    rest = {key.removeprefix(_PREFIX): text for key, text in environ.items() if key.startswith(_PREFIX)}
    rest.pop(SHARED_FOLDER.removeprefix(_PREFIX), None)
    for key in _core_keys():
        if key.upper() in rest:
            text = rest.pop(key.upper())
            core[key] = _names(text) if key == "policies" else text

    if keywords.get("base_url") is not None or environ.get("HEADRACE_BASE_URL"):
        core.pop("endpoints", None)  # who names one means just that one; OPENAI_BASE_URL is for others, too
    given: dict[str, dict[str, Any]] = {}
    _sort_in({key: value for key, value in keywords.items() if value is not None}, core, given, "")
    endpoints = core.pop("endpoints", None)
    built = _build(CoreSettings, core, "")
    if endpoints is not None:
        if keywords.get("base_url") is not None:
            raise SettingsError("base_url= is one endpoint and endpoints= are several; leave one of them out")
        built = attrs.evolve(built, endpoints=_endpoints(endpoints, environ))
    return Settings(built, sections, rest, given)


def settings_in(table: Mapping[str, Any]) -> Settings:
    """The settings in ``table``, as a file would have them, and nothing but these; raises `SettingsError`.

    It names no ``endpoints``.
    """
    core: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    _sort_in(table, core, sections, "")
    return Settings(_build(CoreSettings, core, ""), sections, {})


def _endpoints(given: Any, environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Endpoints as such, or tables of their attributes by name, with keys by the variables that hold them."""
    if isinstance(given, (list, tuple)) and given and all(isinstance(each, Endpoint) for each in given):
        return tuple(given)
    if not isinstance(given, Mapping) or not all(isinstance(each, Mapping) for each in given.values()):
        raise SettingsError("endpoints: must be tables like [endpoints.NAME], or a list of headrace.Endpoint")
    endpoints = []
    for name, table in given.items():
        values, where = {"name": name} | dict(table), f"[endpoints.{name}] "
        if "api_key" in values:
            raise SettingsError(f"{where}a key does not belong here; name its variable: api_key_env")
        if "base_url" not in values:
            raise SettingsError(f"{where}base_url is missing")
        if "api_key_env" in values:
            variable = values.pop("api_key_env")
            if not isinstance(variable, str) or not environ.get(variable):
                raise SettingsError(f"{where}api_key_env: the variable {variable!r} is not set")
            values["api_key"] = environ[variable]
        if isinstance(values.get("models"), list):
            values["models"] = models_by_name(values["models"])
        endpoints.append(_build(Endpoint, values, where))
    return tuple(endpoints)


def _sort_in(
    table: Mapping[str, Any], core: dict[str, Any], sections: dict[str, dict[str, Any]], source: str
) -> None:
    for key, value in table.items():
        if key in _core_keys():
            core[key] = value
        elif isinstance(value, Mapping):
            sections[key] = sections.get(key, {}) | dict(value)
        else:
            raise SettingsError(f"{source}unknown setting {key!r}; {nearest(key, _core_keys())}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _core_keys() -> list[str]:
    return [field.name for field in attrs.fields(CoreSettings)]


def _read_file(directory: Path) -> tuple[str, Mapping[str, Any]]:
    for folder in (directory, *directory.parents):
        own, project = folder / "headrace.toml", folder / "pyproject.toml"
        if own.is_file():
            return str(own), _parse(own)
        if project.is_file():
            table = _parse(project).get("tool", {}).get("headrace")
            if table is not None:
                return f"{project} [tool.headrace]", table
    return "", {}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
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
    number = number_of(value)
    return value if number is None else number


def _convert(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected {kind.__name__}")
