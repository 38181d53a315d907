"""The settings of the core, which belong to no plugin."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from headrace.calls import Timeout, positive_seconds
from headrace.endpoint import Endpoint
from headrace.errors import SettingsError
from headrace.keys import Secret

OPENAI_URL = "https://api.openai.com/v1"


MOST_IN_FLIGHT = 1_000_000
"""The highest ``max_in_flight``: each call in flight needs some ten kilobytes of memory."""


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"{attribute.name}={value}: must be at least 1")


def _number_of_calls(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    _at_least_one(instance, attribute, value)
    if value > MOST_IN_FLIGHT:
        raise SettingsError(f"{attribute.name}: must be at most {MOST_IN_FLIGHT:,}")


@attrs.frozen(kw_only=True)
class CoreSettings:
    """The settings that belong to no plugin.

    Attributes:
        base_url: The URL of the endpoint (default: OpenAI's).
        api_key: Its key.
        endpoints: Several endpoints, instead of ``base_url`` and ``api_key``.
        model: The model for requests that name none.
        max_in_flight: How many attempts may be on the wire at the same time (default 100, at most 1,000,000).
        timeout: Seconds for an attempt (default 60); this and the next four are those of `Timeout`.
        connect_timeout: Seconds for name resolution, TCP and TLS (default 10).
        write_timeout: Seconds for sending the request (default None).
        read_timeout: Seconds for each wait for a part of the response (default None).
        stall_timeout: Seconds between two chunks of a stream (default 60).
        max_response_bytes: Maximum size of a response, decompressed (default 64 MiB).
        transport: "auto" (native, or httpx on Windows and behind a SOCKS or https proxy; the default),
            "native", "httpx", or a name that the transport of a plugin accepts.
        http2: "auto" (HTTP/2 if an https server chooses it and ngh2 is installed, otherwise HTTP/1.1; the
            default), true (HTTP/2 only) or false (HTTP/1.1 only), for endpoints that do not set it.
        proxy: The URL of a proxy for all endpoints (default: from the environment).
        cert: A PEM file with the client certificate.
        cert_key: The file with the private key, if ``cert`` does not contain it.
        cert_password: The password of the private key.
        policies: Names of installed policies to use (default: all).
        insecure: Allow sending a key over plain http to a public host (default false).
    """

    base_url: str = OPENAI_URL
    api_key: Secret | None = None
    endpoints: tuple[Endpoint, ...] = ()
    model: str | None = None
    max_in_flight: int = attrs.field(default=100, validator=_number_of_calls)
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
        """The client certificate, its key and its password; None without a certificate.

        Raises:
            SettingsError: A key or password is set without a certificate.
        """
        if self.cert is not None:
            return self.cert, self.cert_key, self.cert_password
        for name in ("cert_key", "cert_password"):
            if getattr(self, name) is not None:
                raise SettingsError(
                    f"{name} has no effect without cert; set cert to the file of the certificate"
                )
        return None

    def timeouts(self) -> Timeout:
        """The five timeouts as one object."""
        return Timeout(
            self.timeout,
            connect=self.connect_timeout,
            write=self.write_timeout,
            read=self.read_timeout,
            stall=self.stall_timeout,
        )

    def validated_endpoints(self) -> tuple[Endpoint, ...]:
        """``endpoints``, or the one endpoint with ``base_url`` and ``api_key``, validated.

        Raises:
            SettingsError: As `Endpoint.validated` does, or if two endpoints have the same name.
        """
        if not self.endpoints:
            return (Endpoint(self.base_url, self.api_key).validated(insecure=self.insecure),)
        names = [endpoint.name for endpoint in self.endpoints]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"two endpoints are called {name!r}; give them different names")
        return tuple([_validated(endpoint, self.insecure) for endpoint in self.endpoints])


def _validated(endpoint: Endpoint, insecure: bool) -> Endpoint:
    try:
        return endpoint.validated(insecure=insecure)
    except SettingsError as error:
        raise SettingsError(f"endpoint {endpoint.name!r}: {error}") from None
