"""Makes the default transport of a client."""

from __future__ import annotations

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.settings import CoreSettings
from headrace.transports import Transport

OWN_TRANSPORTS = frozenset({"native", "httpx"})
"""The transports that do not come from plugins."""


def make_transport(settings: CoreSettings) -> Transport:
    """The transport that ``settings.transport`` names.

    Raises `SettingsError` for an unknown name, the native transport on a system that does not support it, a
    client certificate that cannot be loaded, and a proxy that the transport does not support.
    """
    # Imported on demand: ssl, httptools and httpx take a large part of the import time.
    from headrace.transports.connecting.proxy import (
        environment_proxy,
        is_http_proxy,
        parse_proxy,
        select_proxy,
    )
    from headrace.transports.event_loops.socket_selectors import is_available

    name = settings.transport
    proxy = settings.proxy or environment_proxy
    if name in {"auto", "native"}:
        urls = [endpoint.base_url for endpoint in settings.endpoints] or [settings.base_url]
        proxies = [chosen for url in urls if (chosen := select_proxy(proxy, url)) is not None]
        if name == "auto":
            name = "native" if is_available() and all(map(is_http_proxy, proxies)) else "httpx"
    if name == "native":
        if not is_available():
            raise SettingsError(
                "transport='native': needs epoll or kqueue, which this system does not have; use 'httpx'"
            )
        from headrace.transports.native import NativeTransport

        for chosen in proxies:
            parse_proxy(chosen)  # so that an error is raised now, not by the first call
        return NativeTransport(
            max_connections=settings.max_in_flight,
            max_response_bytes=settings.max_response_bytes,
            cert=settings.client_certificate,
            proxy=proxy,
            http2=settings.http2,
        )
    if name == "httpx":
        from headrace.transports.httpx import HttpxTransport

        return HttpxTransport(
            max_connections=settings.max_in_flight,
            max_response_bytes=settings.max_response_bytes,
            http2=settings.http2,
            cert=settings.client_certificate,
            proxy=settings.proxy,
        )
    raise SettingsError(f"no transport is called {name!r}; {nearest(name, {'auto', *OWN_TRANSPORTS})}")
