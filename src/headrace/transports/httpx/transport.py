"""Makes attempts through a client of httpx or httpx2."""

from __future__ import annotations

import importlib
import math
import ssl
from collections.abc import AsyncIterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio

from headrace.calls import Call, Content, content_parts
from headrace.endpoint import FRAMING, Endpoint, unsendable
from headrace.errors import CallError, CallTimeout, LocalResourceError, RequestError, SettingsError
from headrace.keys import Secret
from headrace.limiter_tokens import LackingConnection
from headrace.replies import Headers, Reply
from headrace.transports.connecting.client_certificate import ClientCertificate, load_client_certificate
from headrace.transports.connecting.local_limits import ResourceShortage, translate_local_errors
from headrace.transports.connecting.ssl_context import default_ssl_context, tls_name
from headrace.transports.content_encoding import unreadable_body_note
from headrace.transports.httpx.errors import translate_httpx_error
from headrace.transports.httpx.response_body import HttpxBody, read_body


class HttpxTransport:
    """Makes attempts through an ``AsyncClient`` of httpx or httpx2, for example over SOCKS proxies.

    Size limits, encodings and redirects are the same as in the native transport. Two things differ: httpx
    decides which response heads are valid, and it sends a whole request before it reads the response.

    Args:
        client: The client to use; it is closed with the transport. By default one of httpx is made on first
            use.
        max_connections: Idle connections to keep, by default 100.
        max_response_bytes: Size limit of a response, by default 64 MiB. A larger one is an error.
        cert: A client certificate; see `NativeTransport`.
        proxy: The URL of a proxy. By default the proxies of the environment are used.
        http2: True: only HTTP/2. Otherwise only HTTP/1.1. An endpoint's own ``http2`` takes precedence.

    Raises:
        SettingsError: ``client`` is not an ``AsyncClient``, ``cert`` or ``proxy`` is passed with it, the
            certificate cannot be loaded, or ``http2`` is True without h2.
    """

    def __init__(
        self,
        client: Any = None,
        *,
        max_connections: int = 100,
        max_response_bytes: int = 64 * 1024 * 1024,
        cert: ClientCertificate | None = None,
        proxy: str | Secret | None = None,
        http2: bool | Literal["auto"] = "auto",
    ) -> None:
        if http2 is True and client is None:
            _check_http2()
        if client is not None and not (hasattr(client, "stream") and hasattr(client, "aclose")):
            raise SettingsError(_not_a_client(client))
        if client is not None and (cert is not None or proxy is not None):
            raise SettingsError("cert= and proxy=: must be set on the client itself when client= is given")
        self._context = None
        if cert is not None:
            self._context = default_ssl_context()
            load_client_certificate(self._context, cert)
        self._proxy = proxy.reveal() if isinstance(proxy, Secret) else proxy
        self._max_connections = max_connections
        self._max_bytes = max_response_bytes
        self._client = client
        self._http2 = http2
        self._own_clients: dict[bool, Any] = {}
        self._module = importlib.import_module("httpx" if client is None else _library_of(client))
        self._headers: dict[Endpoint, dict[str, str]] = {}
        self._in_use = 0
        self._shortage: ResourceShortage[None] = ResourceShortage(lambda _: None)

    def _client_for(self, endpoint: Endpoint) -> Any:
        if self._client is not None:
            return self._client
        http2 = (self._http2 if endpoint.http2 is None else endpoint.http2) is True
        return self._own_clients.get(http2) or self._open_client(http2)

    def _open_client(self, http2: bool) -> Any:
        if http2:
            _check_http2()
        httpx = self._module
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=self._max_connections, keepalive_expiry=60.0
        )
        which = "the environment's proxies" if self._proxy is None else "the proxy"
        try:
            client = self._own_clients[http2] = httpx.AsyncClient(
                limits=limits,
                verify=self._context or default_ssl_context(),
                proxy=self._proxy,
                http1=not http2,
                http2=http2,
            )
        except ImportError as error:
            raise SettingsError(f"httpx cannot use {which}: {error}") from error
        except (ValueError, httpx.InvalidURL):  # its message shows the URL
            raise SettingsError(
                f"httpx cannot use {which}: the scheme must be http, https, socks5 or socks5h"
            ) from None
        return client

    async def send(self, call: Call) -> Reply:
        """Make one attempt; see `Transport.send`."""
        make, again = self._send_streamed if call.streamed else self._send_whole, False
        while True:
            self._in_use += 1
            try:
                with translate_local_errors(call.endpoint.base_url):
                    reply = await make(call)
            except LocalResourceError as error:
                self._in_use -= 1
                if not self._in_use:  # nothing will be released
                    self._shortage.release()
                    raise
                shortage = error
            except BaseException:
                self._release()
                raise
            else:
                if reply.stream is None:
                    self._release()
                return reply
            with LackingConnection(call):
                await self._shortage.wait(shortage, call.timeout.total, again=again)
            again = True

    def _release(self) -> None:
        self._in_use -= 1
        self._shortage.release()

    async def _send_whole(self, call: Call) -> Reply:
        httpx, request, timeout = self._module, call.request, call.timeout
        end = math.inf if timeout.total is None else anyio.current_time() + timeout.total
        response: Any = None
        content: bytes | None = None
        try:
            with anyio.CancelScope(deadline=end):
                async with self._client_for(call.endpoint).stream(
                    request.method,
                    call.endpoint.base_url + request.path,
                    content=_content_of(call) or None,
                    headers=_HiddenHeaders(self._headers_for(call)),
                    timeout=httpx.Timeout(
                        timeout.total, connect=timeout.connect, read=timeout.read, write=timeout.write
                    ),
                    follow_redirects=False,
                    extensions=self._extensions(call),
                ) as response:
                    content = await self._body_of(response, call)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            started = response is not None
            raise translate_httpx_error(httpx, error, call, response_started=started) from error
        if content is None:
            content = self._timed_out_body(response, call)
        # The body is decoded, so its encoding must not be announced.
        raw = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
        return _reply(response, Headers(raw), content)

    async def _send_streamed(self, call: Call) -> Reply:
        """An attempt that returns a success as soon as its headers have arrived."""
        httpx, request, timeout = self._module, call.request, call.timeout
        end = math.inf if timeout.total is None else anyio.current_time() + timeout.total
        client = self._client_for(call.endpoint)
        response: Any = None
        try:
            with anyio.CancelScope(deadline=end):
                response = await client.send(
                    client.build_request(
                        request.method,
                        call.endpoint.base_url + request.path,
                        content=_content_of(call),
                        headers=self._headers_for(call) | {"accept-encoding": "identity"},
                        timeout=httpx.Timeout(
                            None, connect=timeout.connect, read=timeout.read, write=timeout.write
                        ),
                        extensions=self._extensions(call),
                    ),
                    stream=True,
                    follow_redirects=False,
                )
                headers = Headers(list(response.headers.raw))
                if _is_success(response):
                    body = HttpxBody(httpx, response, call, self._max_bytes, self._release)
                    return _reply(response, headers, b"", body)
                try:
                    return _reply(response, headers, await self._body_of(response, call))
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            started = response is not None
            raise translate_httpx_error(httpx, error, call, response_started=started) from error
        content = self._timed_out_body(response, call)
        return _reply(response, Headers(list(response.headers.raw)), content)

    async def _body_of(self, response: Any, call: Call) -> bytes:
        """The whole body. For an error response with an unreadable body, a note with the reason."""
        try:
            return await read_body(response, self._max_bytes)
        except (self._module.HTTPError, ssl.SSLError) as error:
            failure = translate_httpx_error(self._module, error, call, response_started=True)
            if _is_success(response):
                raise failure from error
        except CallError as error:
            failure = error
            if _is_success(response):
                raise
        return unreadable_body_note(failure)

    @staticmethod
    def _timed_out_body(response: Any, call: Call) -> bytes:
        """A note in place of an error body that arrived too late. Other responses raise `CallTimeout`."""
        where, limit = call.endpoint.base_url, call.timeout.total
        late = CallTimeout(f"no complete response from {where} within {limit:g} s; raise timeout=")
        if response is None or _is_success(response):
            raise late
        return unreadable_body_note(late)

    def _headers_for(self, call: Call) -> dict[str, str]:
        endpoint = call.endpoint
        headers = self._headers.get(endpoint)
        if headers is None:
            headers = {
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "content-type": "application/json",
                "user-agent": f"headrace/{version('headrace')}",
                **{name.lower(): value for name, value in endpoint.headers.items()},
            }
            if endpoint.has_fixed_key:
                headers |= _credentials(endpoint)
            self._headers[endpoint] = headers
        if not endpoint.has_fixed_key:
            headers = headers | _credentials(endpoint)
        own = {name.lower(): value for name, value in call.request.headers}
        problem = unsendable(own, FRAMING)
        if problem:
            raise RequestError(problem)
        if not isinstance(call.content, bytes):
            own["content-length"] = str(len(call.content))  # otherwise httpx sends chunks
        return headers | own

    @staticmethod
    def _extensions(call: Call) -> dict[str, str]:
        """The host as TLS writes it, if httpx would write it differently."""
        host = urlsplit(call.endpoint.base_url).hostname or ""
        name = tls_name(host)
        return {} if name == host else {"sni_hostname": name}

    async def aclose(self) -> None:
        """Close the client."""
        for client in [self._client] if self._client is not None else self._own_clients.values():
            await client.aclose()


def _content_of(call: Call) -> Any:
    """The body as httpx takes it."""
    return call.content if isinstance(call.content, bytes) else _parts_of(call.content)


async def _parts_of(content: Content) -> AsyncIterator[bytes]:
    for part in content_parts(content):
        yield part


def _credentials(endpoint: Endpoint) -> dict[str, str]:
    return {name.lower(): value for name, value in endpoint.credentials().items()}


class _HiddenHeaders(dict[str, str]):
    """Headers whose repr hides the values, because tools show the variables of httpx's functions."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


def _reply(response: Any, headers: Headers, content: bytes, stream: HttpxBody | None = None) -> Reply:
    reply = Reply(response.status_code, headers, content, stream=stream)
    if response.http_version == "HTTP/2":
        reply.http_version = "HTTP/2"
    return reply


def _check_http2() -> None:
    if find_spec("h2") is None:
        raise SettingsError(
            "http2 = true needs h2 over httpx: pip install 'httpx[http2]', or leave it at 'auto'"
        )


def _is_success(response: Any) -> bool:
    return bool(200 <= response.status_code < 300)


def _library_of(client: Any) -> str:
    """The package of a client, "httpx" or "httpx2", also for a subclass."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"}:
            return name
    raise SettingsError(_not_a_client(client))


def _not_a_client(client: Any) -> str:
    return f"client={client!r}: must be an AsyncClient of httpx or httpx2"
