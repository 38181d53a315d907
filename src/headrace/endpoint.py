"""An endpoint: its URL, its key, its models, and how requests to it are written."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, AnyStr, Literal, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import attrs

from headrace._support.redaction import MultiRedactor, Redactor
from headrace.errors import SettingsError
from headrace.keys import RefreshableKey, Secret, as_secret, is_token


class _Empty(Mapping[str, str]):
    """An immutable empty mapping that can be pickled, unlike MappingProxyType."""

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
    """The name of each model at an endpoint, from a mapping or a list; None stays None, for any model."""
    if models is None or isinstance(models, Mapping):
        return models
    names = None if isinstance(models, str) else list(models)
    if names is None or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"models={models!r}: must be a list of names, or a mapping to names at the endpoint"
        )
    return {name: name for name in names}


def _above_zero(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"{attribute.name}={value!r}: must be above 0")


def _is_http2(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool) and value not in {None, "auto"}:
        raise SettingsError(f"http2={value!r}: must be true, false or 'auto'")


FRAMING = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that only the transport may set."""

_OWN = FRAMING | {"authorization", "content-type"}


def unsendable(headers: Mapping[str, str], forbidden: frozenset[str]) -> str | None:
    """Why headers cannot be sent (not valid in HTTP, or ``forbidden``); None if they can."""
    for name, value in headers.items():
        if name.lower() in forbidden:
            return f"header {name!r} is set by headrace itself"
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            return f"header name {name!r} contains a character that HTTP forbids"
        if not value.isascii() or not value.isprintable():
            return f"header {name!r} contains a line break or a character outside ASCII"
    return None


def _sendable(instance: Any, attribute: attrs.Attribute[Any], headers: Mapping[str, str]) -> None:
    wrong = unsendable(headers, _OWN)
    if wrong:
        raise SettingsError(wrong)


def _host_of(endpoint: Endpoint) -> str:
    try:
        return urlsplit(endpoint.base_url).netloc.rpartition("@")[2]
    except ValueError:  # `validated` raises it
        return endpoint.base_url


@attrs.frozen(eq=False)
class Endpoint:
    """A server that speaks the API.

    Attributes:
        base_url: Its URL, like ``https://host/v1``.
        api_key: A string, a `Secret`, or a function that returns one (it may be async). A client calls the
            function before its first request and after each 401, once for all calls that wait, and repeats a
            rejected attempt once with the new key. A function that blocks also blocks the event loop; call it
            in a thread (``anyio.to_thread.run_sync``).
        headers: Sent with every request.
        name: For settings, logs and prices (default: the host of the URL).
        models: The models that it serves: a list, or a mapping from the name in requests to the name at the
            endpoint. None means any model (default).
        weight: Its share of the calls, relative to other endpoints (default 1). For policies that choose
            among endpoints.
        max_in_flight: Maximum number of its attempts at the same time (default: the client's limit). For
            policies that choose among endpoints.
        path: How the path of a request is written (default ``{path}``).
        query: Query parameters appended to each path.
        key_header: The header that carries just the key (default: ``Authorization`` with ``Bearer``).
        http2: True for HTTP/2 only, False for HTTP/1.1 only, "auto" to let the server choose (default: the
            client's setting).
        is_plain: Whether requests are sent unchanged: no model is renamed, no path or query is set, and the
            key does not change.

    Raises:
        SettingsError: A value is out of range, a header is not valid in HTTP, or ``path`` lacks ``{path}``.

    Example:
        ```python
        azure = headrace.Endpoint(
            "https://name.openai.azure.com/openai",
            key,
            path="/deployments/{model}{path}",
            query={"api-version": "2024-10-21"},
            key_header="api-key",
        )
        ```
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
    _redactor: Redactor | MultiRedactor = attrs.field(init=False, repr=False)

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
    def _of_key(self) -> Redactor | MultiRedactor:
        return Redactor(None) if self.api_key is None else self.api_key.redactor()

    def validated(self, *, insecure: bool = False) -> Endpoint:
        """A copy for one client, with its URL in normal form.

        Args:
            insecure: Allow sending a key over plain http to a public host.

        Raises:
            SettingsError: The URL is not an http(s) URL or not safe, or the key is not valid in a header.
        """
        key = self.api_key
        if isinstance(key, RefreshableKey):
            key = key.for_another_client()
        elif key is not None and not is_token(key.reveal()):
            raise SettingsError(
                "api_key is empty or contains a space, a line break or a character outside ASCII; "
                "remove it (a line break is easily copied with a key)"
            )
        return attrs.evolve(self, base_url=_checked_url(self.base_url, key, insecure), api_key=key)

    def serves(self, model: str | None) -> bool:
        """Whether it has this model; a request without a model may go to any endpoint."""
        return model is None or self.models is None or model in self.models

    def name_of(self, model: str) -> str:
        """The name of a model at this endpoint."""
        return model if self.models is None else self.models.get(model, model)

    def target(self, path: str, model: str | None) -> str:
        """The part of the URL after the base URL, for a path of the API.

        Args:
            path: Like ``/chat/completions``.
            model: By its name at this endpoint; None if the request names none.
        """
        if model is None and "{model}" in self.path:
            written = path  # such as the list of models
        else:
            written = self.path.replace("{model}", quote(model or "", safe="")).replace("{path}", path)
        if not self.query:
            return written
        return f"{written}{'&' if '?' in written else '?'}{urlencode(self.query)}"

    @property
    def has_fixed_key(self) -> bool:
        """Whether the key never changes: it does not come from a function."""
        return self.api_key is None or self.api_key.is_fixed

    def credentials(self) -> dict[str, str]:
        """The header with the current key; empty without a key."""
        if self.api_key is None:
            return {}
        key = self.api_key.reveal()
        return {"Authorization": f"Bearer {key}"} if self.key_header is None else {self.key_header: key}

    @property
    def may_show_key(self) -> bool:
        """Whether text from the endpoint may contain a key that must not be shown."""
        return not self._redactor.is_noop

    def without_key(self, text: AnyStr) -> AnyStr:
        """Text from the endpoint with its key replaced; some endpoints repeat a key that they reject.

        Any 8 consecutive characters of the key are replaced, in any escaping; its public prefix
        (``sk-proj-``) does not count. A shorter key is a plain word and is not replaced.
        """
        return self._redactor.text(text) if isinstance(text, str) else self._redactor.content(text)


_OPERATION = re.compile(
    r"(/chat/completions|/completions|/embeddings|/responses|(?<=/v[0-9])/models)/*$", re.ASCII
)
"""Paths that headrace adds itself. ``/models`` without a version is part of Azure AI Foundry's base URL."""


def _checked_url(url: str, key: Secret | None, insecure: bool) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"base_url: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError("base_url contains a user name or password; pass a key as api_key= instead")
    if not is_token(url):
        raise SettingsError("base_url contains a space, a line break or a character outside ASCII")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise SettingsError(f"base_url {url!r} must be like https://host/v1")
    if not _is_host(parts.hostname):
        raise SettingsError(f"base_url {url!r}: the host must be a host name or an IP address")
    if parts.query or parts.fragment:
        # The URL is not shown: it may contain a key there.
        raise SettingsError("base_url must end with its path, without '?' and '#'")
    operation = _OPERATION.search(parts.path)
    if operation is not None:
        base = f"{parts.scheme}://{parts.netloc}{parts.path[: operation.start(1)]}"
        raise SettingsError(f"base_url {url!r} must not include {operation[1]!r}; use {base!r}")
    if parts.scheme == "http" and key is not None and not insecure and _public(parts.hostname):
        raise SettingsError(
            f"base_url {url!r} would send the key unencrypted over the network; use https, "
            "or pass insecure=True if the network is safe"
        )
    if url.startswith("https://api.openai.com") and key is None:
        raise SettingsError(
            "no key for api.openai.com: set OPENAI_API_KEY, or pass api_key= or another base_url="
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _is_host(host: str) -> bool:
    """Whether a resolver accepts a host."""
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
    """Whether a host is public: not a loopback or private address, and not a name of the local network."""
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal", ".test"))
