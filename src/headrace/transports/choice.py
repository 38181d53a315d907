"""Which transport a client gets when it is handed none."""

from __future__ import annotations

from urllib.parse import urlsplit

from headrace.errors import SettingsError, nearest
from headrace.settings import CoreSettings
from headrace.transports import Transport

OWN_TRANSPORTS = frozenset({"native", "httpx"})
"""Those that are made without asking plugins."""


def make_transport(settings: CoreSettings) -> Transport:
    """The transport that ``settings.transport`` names; raises `SettingsError` for an unknown name."""
    name = settings.transport
    if name == "auto":
        urls = [endpoint.base_url for endpoint in settings.endpoints] or [settings.base_url]
        name = "httpx" if any(map(proxied, urls)) else "native"
    # Imported when chosen: ssl, httptools and httpx are a large part of the import time.
    if name == "native":
        from headrace.transports.native import NativeTransport

        return NativeTransport(
            max_connections=settings.max_in_flight,
            max_response_bytes=settings.max_response_bytes,
            http2=settings.http2,
        )
    if name == "httpx":
        from headrace.transports.httpx import HttpxTransport

        return HttpxTransport(
            max_connections=settings.max_in_flight, max_response_bytes=settings.max_response_bytes
        )
    raise SettingsError(f"no transport is called {name!r}; {nearest(name, {'auto', *OWN_TRANSPORTS})}")


def proxied(url: str) -> bool:
    """True where the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) sends ``url`` by a proxy."""
    parts = urlsplit(url)
    import urllib.request  # not with the module: it brings an HTTP client of its own

    proxies = urllib.request.getproxies_environment()
    if not (proxies.get(parts.scheme) or proxies.get("all")):
        return False
    return not urllib.request.proxy_bypass_environment(parts.netloc, proxies)  # type: ignore[attr-defined]
