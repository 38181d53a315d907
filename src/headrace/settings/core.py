"""The settings that belong to no plugin."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from headrace.calls import Timeout, positive_seconds
from headrace.endpoint import Endpoint
from headrace.errors import SettingsError
from headrace.keys import Secret

OPENAI_URL = "https://api.openai.com/v1"


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"{attribute.name}={value}: must be at least 1")


@attrs.frozen(kw_only=True)
class CoreSettings:
    """The keys that belong to no plugin.

    ``base_url`` and ``api_key`` say which endpoint, or ``endpoints`` which several; ``model`` is sent where
    a request names none; ``max_in_flight`` is how many calls may be under way at once; ``timeout`` and the
    four timeouts below it are seconds per attempt (see `Timeout`); ``max_response_bytes`` bounds one answer,
    decompressed; ``transport`` is "auto" (native, or httpx on Windows and where a proxy of SOCKS or https is
    set), "native", "httpx", or the name that a plugin's transport answers to; ``policies`` names the policies
    to use of those installed (default: all of them); ``insecure`` allows sending a key over plain http to a
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

    def validated_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints these settings name: ``endpoints``, or the one of ``base_url`` and ``api_key``.

        Raises `SettingsError` as `Endpoint.checked` does, and for two of one name.
        """
        if not self.endpoints:
            return (Endpoint(self.base_url, self.api_key).validated(insecure=self.insecure),)
        names = [endpoint.name for endpoint in self.endpoints]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"two endpoints are called {name!r}; give each a name of its own")
        return tuple([_checked(endpoint, self.insecure) for endpoint in self.endpoints])


def _checked(endpoint: Endpoint, insecure: bool) -> Endpoint:
    try:
        return endpoint.validated(insecure=insecure)
    except SettingsError as error:
        raise SettingsError(f"endpoint {endpoint.name!r}: {error}") from None
