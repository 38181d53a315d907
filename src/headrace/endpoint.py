"""An endpoint: where it is, what opens it, what it serves, and how requests are written there."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, AnyStr, Literal, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import attrs

from headrace._support.redaction import Redactor, Redactors
from headrace.errors import SettingsError
from headrace.keys import RefreshableKey, Secret, as_secret, is_token


class _Empty(Mapping[str, str]):
    """An empty mapping that nobody can fill, and that pickles (as MappingProxyType does not)."""

    __slots__ = ()

    def __getitem__(self, name: str) -> NoReturn:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Mapping[str, str] = _Empty()


def models_by_name(models: Mapping[str, str] | Iterable[str] | None) -> Mapping[str, str] | None:
    """What each model is called at an endpoint; those of a list as they are. None: any model."""
    if models is None or isinstance(models, Mapping):
        return models
    names = None if isinstance(models, str) else list(models)
    if names is None or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"models={models!r}: must be a list of models, or what each is called there")
    return {name: name for name in names}


def _above_zero(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"{attribute.name}={value!r}: must be above 0")


def _is_http2(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool) and value not in {None, "auto"}:
        raise SettingsError(f"http2={value!r}: must be true, false or 'auto'")


FRAMING = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that are the transport's own to set."""

_OWN = FRAMING | {"authorization", "content-type"}


def unsendable(headers: Mapping[str, str], forbidden: frozenset[str]) -> str | None:
    """What is wrong with headers, None for nothing: what HTTP cannot carry, and what is ``forbidden``."""
    for name, value in headers.items():
        if name.lower() in forbidden:
            return f"header {name!r} is set by headrace itself"
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            return f"header name {name!r} holds a character that HTTP forbids"
        if not value.isascii() or not value.isprintable():
            return f"header {name!r} holds a line break or a character outside ASCII"
    return None


def _sendable(instance: Any, attribute: attrs.Attribute[Any], headers: Mapping[str, str]) -> None:
    wrong = unsendable(headers, _OWN)
    if wrong:
        raise SettingsError(wrong)


def _host_of(endpoint: Endpoint) -> str:
    try:
        return urlsplit(endpoint.base_url).netloc.rpartition("@")[2]
    except ValueError:  # which `checked` says
        return endpoint.base_url


@attrs.frozen(eq=False)
class Endpoint:
    """A server that speaks the API.

    ``base_url``, ``api_key`` and ``headers``, which every request to it carries. The key is a string, a
    `Secret`, or a callable that gives one, also an async one: a client asks it before its first request and
    after each 401, once for all calls that wait, and sends a refused attempt once more with the new key. A
    function that blocks blocks the event loop; put it into a thread (``anyio.to_thread.run_sync``).
    ``name`` is for settings, logs and prices, by default the URL's host. ``models``: those that it serves,
    as a list, or as a mapping from the name that is asked for to its name there; None: any, as they are
    called. ``weight`` is its share of the calls beside other endpoints, ``max_in_flight`` how many it may
    have at once (None: as many as the client); both are what a policy that chooses among endpoints goes by.

    ``path`` is how a request's path is written there, ``query`` what follows it, ``key_header`` the header
    that carries the key alone (None: ``Authorization: Bearer``), as for Azure's deployments:
    ``path="/deployments/{model}{path}"``, ``query={"api-version": "…"}``, ``key_header="api-key"``.

    ``http2``: True for HTTP/2 only, False for HTTP/1.1 only, "auto" for what the server chooses; None: as the
    client has it.

    Raises `SettingsError` for values out of range, headers that HTTP cannot carry, and a path without
    ``{path}``.
    """

    base_url: str
    api_key: Secret | None = attrs.field(default=None, converter=as_secret)
    headers: Mapping[str, str] = attrs.field(default=EMPTY, validator=_sendable, repr=False)
    name: str = attrs.field(default=attrs.Factory(_host_of, takes_self=True), kw_only=True)
    models: Mapping[str, str] | None = attrs.field(default=None, converter=models_by_name, kw_only=True)
    weight: float = attrs.field(default=1.0, validator=_above_zero, kw_only=True)
    max_in_flight: int | None = attrs.field(default=None, validator=_above_zero, kw_only=True)
    path: str = attrs.field(default="{path}", kw_only=True)
    query: Mapping[str, str] = attrs.field(default=EMPTY, kw_only=True)
    key_header: str | None = attrs.field(default=None, kw_only=True)
    http2: bool | Literal["auto"] | None = attrs.field(default=None, validator=_is_http2, kw_only=True)
    is_plain: bool = attrs.field(init=False, repr=False)
    """True where requests are written there as anywhere: no model renamed, no path or query of its own, and a
    key that does not change."""
    _redactor: Redactor | Redactors = attrs.field(init=False, repr=False)

    @path.validator
    def _has_path(self, attribute: attrs.Attribute[Any], value: str) -> None:
        if not is_token(value) or value.count("{path}") != 1 or value[:1] not in {"/", "{"}:
            raise SettingsError(f"path={value!r}: must be like '/deployments/{{model}}{{path}}'")

    @key_header.validator
    def _is_header(self, attribute: attrs.Attribute[Any], value: str | None) -> None:
        wrong = None if value is None else unsendable({value: ""}, FRAMING)
        if wrong:
            raise SettingsError(f"key_header={value!r}: {wrong}")

    @is_plain.default
    def _plain(self) -> bool:
        renamed = any(name != there for name, there in (self.models or EMPTY).items())
        return not renamed and self.path == "{path}" and not self.query and self.has_fixed_key

    @_redactor.default
    def _of_key(self) -> Redactor | Redactors:
        return Redactor(None) if self.api_key is None else self.api_key.redactor()

    def validated(self, *, insecure: bool = False) -> Endpoint:
        """This endpoint for one client, its URL in the form that the rest reckons with.

        Raises `SettingsError` for an address that is no http(s) URL or unsafe (``insecure`` allows to send a
        key over plain http to a public host), and for a key that no header can carry.
        """
        key = self.api_key
        if isinstance(key, RefreshableKey):
            key = key.for_another_client()
        elif key is not None and not is_token(key.reveal()):
            raise SettingsError(
                "api_key is empty or holds a space, a line break or a character outside ASCII; "
                "was a line end copied with it?"
            )
        return attrs.evolve(self, base_url=_checked_url(self.base_url, key, insecure), api_key=key)

    def serves(self, model: str | None) -> bool:
        """Whether it has a model; what names none may go to any endpoint."""
        return model is None or self.models is None or model in self.models

    def name_of(self, model: str) -> str:
        """What a model is called there."""
        return model if self.models is None else self.models.get(model, model)

    def target(self, path: str, model: str | None) -> str:
        """What is appended to the base URL for a path of the API; ``model`` by its name there."""
        if model is None and "{model}" in self.path:
            written = path  # a list of models, which is no model's
        else:
            written = self.path.replace("{model}", quote(model or "", safe="")).replace("{path}", path)
        if not self.query:
            return written
        return f"{written}{'&' if '?' in written else '?'}{urlencode(self.query)}"

    @property
    def has_fixed_key(self) -> bool:
        """False where the key is asked for, and so changes."""
        return self.api_key is None or self.api_key.is_fixed

    def credentials(self) -> dict[str, str]:
        """The header that carries the key of now, none without one."""
        if self.api_key is None:
            return {}
        key = self.api_key.reveal()
        return {"Authorization": f"Bearer {key}"} if self.key_header is None else {self.key_header: key}

    @property
    def may_show_key(self) -> bool:
        """True where words of the endpoint may hold a key that must not be shown."""
        return not self._redactor.idle

    def without_key(self, said: AnyStr) -> AnyStr:
        """What the endpoint said, less its key: some repeat the one that they refuse.

        Any 8 characters of the key in a row are replaced, counted after its public prefix (``sk-proj-``), in
        any escaping. A key of fewer characters is a word, and is left alone.
        """
        return self._redactor.text(said) if isinstance(said, str) else self._redactor.content(said)


def _checked_url(url: str, key: Secret | None, insecure: bool) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"base_url: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError("base_url holds a user name or password; pass a key as api_key instead")
    if not is_token(url):
        raise SettingsError("base_url holds a space, a line break or a character outside ASCII")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise SettingsError(f"base_url {url!r} must be like https://host/v1")
    if not _is_host(parts.hostname):
        raise SettingsError(f"base_url {url!r}: its host is not a host name, nor an address")
    if parts.query or parts.fragment:
        # Not shown: some put their key there.
        raise SettingsError("base_url must end with its path, without '?' and '#'")
    if parts.scheme == "http" and key is not None and not insecure and _public(parts.hostname):
        raise SettingsError(
            f"base_url {url!r} would send the key unencrypted over the network; use https, "
            "or say insecure=True if the way there is safe"
        )
    if url.startswith("https://api.openai.com") and key is None:
        raise SettingsError(
            "no key for api.openai.com: set OPENAI_API_KEY or pass api_key=, or name a base_url"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _is_host(host: str) -> bool:
    """Whether a resolver can be asked for a host at all."""
    if ":" in host:
        with contextlib.suppress(ValueError):
            return bool(ipaddress.IPv6Address(host))
        return False
    try:
        host.encode("idna")
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return False
    return not re.search(r"[^\w.-]", host) and any(map(str.isalnum, host))


def _public(host: str) -> bool:
    """False for loopback and private addresses and for names that only a local resolver knows."""
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal", ".test"))
