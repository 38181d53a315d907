"""The transport of an SDK's client: the native one, or the library's own where that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from types import ModuleType
from typing import Any, Literal

from headrace.calls import Call
from headrace.endpoint import Endpoint
from headrace.errors import SettingsError
from headrace.policies import TaskGroupFactory
from headrace.replies import Reply
from headrace.transports import Transport
from headrace.transports.connecting.client_certificate import load_client_certificate
from headrace.transports.connecting.proxy import environment_proxy, is_http_proxy, parse_proxy
from headrace.transports.connecting.ssl_context import default_ssl_context
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport, has_http2

Http2 = bool | Literal["auto"]


def native_http2(options: Mapping[str, Any], default: Http2) -> Http2:
    """The native transport's ``http2`` for the options ``http1`` and ``http2``; ``default`` without them.

    Raises `SettingsError` if they ask for HTTP/2 without ngh2.
    """
    only_http2 = not options.get("http1", True)
    if (only_http2 or options.get("http2")) and not has_http2():
        raise SettingsError("http2=True needs ngh2: pip install 'headrace[http2]', or remove http2=")
    if only_http2:
        return True
    # With both, the libraries offer both and the server chooses.
    return ("auto" if options["http2"] else False) if "http2" in options else default


def native_ssl_context(library: ModuleType, options: Mapping[str, Any]) -> SSLContext | None:
    """The SSL context for the options ``verify`` and ``cert``; None means the native transport's default.

    Raises `SettingsError` if the certificate cannot be loaded.
    """
    verify, cert = options.get("verify", True), options.get("cert")
    if verify is True:
        context = None if cert is None else default_ssl_context()
    else:
        context = verify if isinstance(verify, SSLContext) else library.create_ssl_context(verify=verify)
    if cert is not None and context is not None:
        load_client_certificate(context, cert)
    return context


def proxy_url(library: ModuleType, options: Mapping[str, Any]) -> str | None:
    """The URL of the option ``proxy``; None without it, and for an `httpx.Proxy`, which is more than a URL.

    Raises `SettingsError` if it is not the URL of a proxy.
    """
    proxy = options.get("proxy")
    if not isinstance(proxy, (str, library.URL)):
        return None
    url = str(proxy)
    if is_http_proxy(url):
        parse_proxy(url)
    return url


class HybridTransport:
    """Uses the native transport, and ``library`` for SOCKS or https proxies and for ``mounts``.

    ``options`` are those of the library's own client. ``ssl_context`` and ``http2`` are the results of
    `native_ssl_context` and `native_http2`.
    """

    def __init__(
        self,
        library: ModuleType,
        options: Mapping[str, Any],
        ssl_context: SSLContext | None,
        http2: Http2,
        max_in_flight: int,
        max_bytes: int,
    ) -> None:
        self._library = library
        self._options = options
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self._native = NativeTransport(
            max_connections=max_in_flight,
            max_response_bytes=max_bytes,
            ssl_context=ssl_context,
            proxy=self._proxy,
            http2=http2,
        )
        self._library_transport: HttpxTransport | None = None
        self._by_endpoint: dict[Endpoint, Transport] = {}

    def lifespan(self, group: TaskGroupFactory) -> AbstractAsyncContextManager[None]:
        """The native transport's lifespan."""
        return self._native.lifespan(group)

    async def send(self, call: Call) -> Reply:
        """Make one attempt; see `Transport.send`."""
        return await (self._by_endpoint.get(call.endpoint) or self._transport(call.endpoint)).send(call)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._native.aclose()
        if self._library_transport is not None:
            await self._library_transport.aclose()

    def _proxy(self, url: str) -> str | None:
        """The proxy that the library would choose for a URL."""
        if self._options.get("proxy") is not None:
            return proxy_url(self._library, self._options)
        return environment_proxy(url) if self._options.get("trust_env", True) else None

    def _transport(self, endpoint: Endpoint) -> Transport:
        options = self._options
        proxy = self._proxy(endpoint.base_url)
        use_library = (
            bool(options.get("mounts"))
            or (options.get("proxy") is not None and proxy is None)
            or (proxy is not None and not is_http_proxy(proxy))
        )
        transport = self._by_endpoint[endpoint] = (
            self._get_library_transport() if use_library else self._native
        )
        return transport

    def _get_library_transport(self) -> Transport:
        if self._library_transport is None:
            limits = self._library.Limits(max_connections=None, max_keepalive_connections=self._max_in_flight)
            client = self._library.AsyncClient(**({"limits": limits} | dict(self._options)))
            self._library_transport = HttpxTransport(client, max_response_bytes=self._max_bytes)
        return self._library_transport
