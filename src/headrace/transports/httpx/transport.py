"""The transport over an httpx (or httpx2) client: for proxies, HTTP/2, and what else such a client can do."""

from __future__ import annotations

import importlib
import math
import ssl
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio

from headrace.calls import Call
from headrace.endpoint import FRAMING, Endpoint, unsendable
from headrace.errors import (
    CallError,
    CallTimeout,
    ConnectError,
    IncompleteReply,
    LocalResourceError,
    ProtocolError,
    ReplyTooLarge,
    RequestError,
    SettingsError,
    TLSError,
)
from headrace.keys import Secret
from headrace.replies import Headers, Reply
from headrace.transports.connecting.client_certificate import ClientCertificate, load_client_certificate
from headrace.transports.connecting.connector import (
    certificate_refused,
    default_ssl_context,
    refuses_certificate,
    tls_name,
)
from headrace.transports.connecting.local_limits import Shortage, local_errors_named, local_resource_error
from headrace.transports.content_encoding import Decoder, decompressed, unreadable


class HttpxTransport:
    """Makes attempts through an ``AsyncClient`` of httpx or httpx2; the client is closed with it.

    Without ``client`` one of httpx is made on first use: with ``cert`` (see `NativeTransport`), and by way of
    ``proxy``, else by those of the environment. It speaks HTTP/1.1 or, with ``http2=True``, nothing but
    HTTP/2; an endpoint's own ``http2`` comes first.
    Limits, encodings and redirects are as in the native transport. What is left to httpx is not: which heads
    of answers it takes, and that it writes a request to its end before it reads the answer.
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
            raise SettingsError(f"HttpxTransport takes an httpx.AsyncClient, not {client!r}")
        if client is not None and (cert is not None or proxy is not None):
            raise SettingsError("cert= and proxy= are for a client that HttpxTransport makes itself")
        self._context = None
        if cert is not None:
            self._context = default_ssl_context()
            load_client_certificate(self._context, cert)
        self._proxy = proxy.reveal() if isinstance(proxy, Secret) else proxy
        self._max_connections = max_connections
        self._max_bytes = max_response_bytes
        self._client = client
        self._http2 = http2
        self._own: dict[bool, Any] = {}
        self._module = importlib.import_module("httpx" if client is None else _home(client))
        self._headers: dict[Endpoint, dict[str, str]] = {}
        self._in_use = 0
        self._shortage: Shortage[None] = Shortage(lambda _: None)

    def _client_for(self, endpoint: Endpoint) -> Any:
        if self._client is not None:
            return self._client
        http2 = (self._http2 if endpoint.http2 is None else endpoint.http2) is True
        return self._own.get(http2) or self._open(http2)

    def _open(self, http2: bool) -> Any:
        if http2:
            _check_http2()
        httpx = self._module
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=self._max_connections, keepalive_expiry=60.0
        )
        which = "proxies of the environment" if self._proxy is None else "proxy"
        try:
            client = self._own[http2] = httpx.AsyncClient(
                limits=limits,
                verify=self._context or default_ssl_context(),
                proxy=self._proxy,
                http1=not http2,
                http2=http2,
            )
        except ImportError as error:
            raise SettingsError(f"httpx cannot use the {which}: {error}") from error
        except (ValueError, httpx.InvalidURL):  # its message shows the URL
            raise SettingsError(
                f"httpx cannot use the {which}; it must be one of http, https, socks5 or socks5h"
            ) from None
        return client

    async def send(self, call: Call) -> Reply:
        """Make one attempt; see `Transport.send`."""
        make, again = self._send_streamed if call.streamed else self._send_whole, False
        while True:
            self._in_use += 1
            try:
                with local_errors_named(call.endpoint.base_url):
                    reply = await make(call)
            except LocalResourceError as error:
                self._in_use -= 1
                if not self._in_use:  # nothing will be given back
                    self._shortage.give_back()
                    raise
                shortage = error
            except BaseException:
                self._give_back()
                raise
            else:
                if reply.stream is None:
                    self._give_back()
                return reply
            await self._shortage.wait(shortage, call.timeout.total, again=again)
            again = True

    def _give_back(self) -> None:
        self._in_use -= 1
        self._shortage.give_back()

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
                    content=call.content or None,
                    headers=_Hidden(self._headers_for(call)),
                    timeout=httpx.Timeout(
                        timeout.total, connect=timeout.connect, read=timeout.read, write=timeout.write
                    ),
                    follow_redirects=False,
                    extensions=self._extensions(call),
                ) as response:
                    content = await self._body_of(response, call)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise _translated(httpx, error, call, answering=response is not None) from error
        if content is None:
            content = self._too_late(response, call)
        # What httpx has undone must not be announced any more.
        raw = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
        return _reply(response, Headers(raw), content)

    async def _send_streamed(self, call: Call) -> Reply:
        """An attempt whose success is handed over at its headers."""
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
                        content=call.content,
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
                    body = HttpxBody(httpx, response, call, self._max_bytes, self._give_back)
                    return _reply(response, headers, b"", body)
                try:
                    return _reply(response, headers, await self._body_of(response, call))
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise _translated(httpx, error, call, answering=response is not None) from error
        content = self._too_late(response, call)
        return _reply(response, Headers(list(response.headers.raw)), content)

    async def _body_of(self, response: Any, call: Call) -> bytes:
        """The whole body, or a note of why the body of an error status cannot be read."""
        try:
            return await self._read(response)
        except (self._module.HTTPError, ssl.SSLError) as error:
            failure = _translated(self._module, error, call, answering=True)
            if _is_success(response):
                raise failure from error
        except CallError as error:
            failure = error
            if _is_success(response):
                raise
        return unreadable(failure)

    @staticmethod
    def _too_late(response: Any, call: Call) -> bytes:
        """The same, for a body that does not come in time; raises `CallTimeout`."""
        where, limit = call.endpoint.base_url, call.timeout.total
        late = CallTimeout(f"no complete answer from {where} within {limit:g} s; raise timeout=")
        if response is None or _is_success(response):
            raise late
        return unreadable(late)

    async def _read(self, response: Any) -> bytes:
        if response.is_stream_consumed:  # httpx.MockTransport hands over answers that were read
            content: bytes = response.content
            self._check_size(len(content))
            return content
        received = bytearray()
        # Raw, as httpx decompresses whatever it gets: a few kilobytes can become gigabytes.
        async with aclosing(response.aiter_raw()) as parts:
            async for part in parts:
                received += part
                self._check_size(len(received))
        encodings = response.headers.get("content-encoding", "")
        return decompressed(bytes(received), encodings, self._max_bytes) if received else b""

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise ReplyTooLarge(f"the answer is over max_response_bytes={self._max_bytes}")

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
        wrong = unsendable(own, FRAMING)
        if wrong:
            raise RequestError(wrong)
        return headers | own

    @staticmethod
    def _extensions(call: Call) -> dict[str, str]:
        """The host as TLS names it, where httpx would name it otherwise."""
        host = urlsplit(call.endpoint.base_url).hostname or ""
        name = tls_name(host)
        return {} if name == host else {"sni_hostname": name}

    async def aclose(self) -> None:
        """Close the client."""
        for client in [self._client] if self._client is not None else self._own.values():
            await client.aclose()


def _credentials(endpoint: Endpoint) -> dict[str, str]:
    return {name.lower(): value for name, value in endpoint.credentials().items()}


class _Hidden(dict[str, str]):
    """Headers for a function of httpx's that is in the tracebacks of errors, which may show its variables."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


class HttpxBody:
    """See `headrace.replies.Body`."""

    def __init__(
        self, httpx: Any, response: Any, call: Call, max_bytes: int, give_back: Callable[[], None]
    ) -> None:
        self._httpx = httpx
        self._response = response
        self._call = call
        self._max_bytes = max_bytes
        self._give_back: Callable[[], None] | None = give_back
        self._size = 0
        self._decoder: Decoder | None = None
        self._parts = response.aiter_raw()

    async def receive(self, until: float) -> bytes:
        unbounded = self._call.unbounded
        if self._decoder is None:
            encodings = self._response.headers.get("content-encoding", "")
            self._decoder = Decoder(encodings, self._max_bytes, unbounded=unbounded)
        try:
            with anyio.CancelScope(deadline=until):
                async for part in self._parts:
                    self._size += len(part)
                    if self._size > self._max_bytes and not unbounded:
                        raise ReplyTooLarge(f"the answer is over max_response_bytes={self._max_bytes}")
                    if decoded := self._decoder.feed(part):
                        return decoded
                self._decoder.finish()
                return b""
        except (self._httpx.HTTPError, ssl.SSLError) as error:
            raise _translated(self._httpx, error, self._call, answering=True) from error
        where = self._call.endpoint.base_url
        raise CallTimeout(f"{where} fell silent in the midst of an answer", "stall")

    async def aclose(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            # httpx's generators, one in the other, are left to the garbage collector if not gone through to
            # their end, which on a closed connection is an error.
            with suppress(self._httpx.HTTPError, self._httpx.StreamError):
                async for _ in self._parts:
                    pass


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


def _home(client: Any) -> str:
    """The name of the package whose client this is, a subclass's own home left aside."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"}:
            return name
    raise SettingsError(f"HttpxTransport takes an httpx.AsyncClient, not {client!r}")


def _translated(httpx: Any, error: Exception, call: Call, *, answering: bool) -> CallError:
    where = call.endpoint.base_url
    if isinstance(error, httpx.TimeoutException):
        phase = "connect" if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout)) else "read"
        if isinstance(error, httpx.WriteTimeout):
            phase = "write"
        return CallTimeout(f"{phase} timeout with {where}", phase)
    causes = list(_causes(error))
    for cause in causes:
        if refuses_certificate(cause):
            return certificate_refused(where, cause)
        if (local := local_resource_error(cause, where)) is not None:
            return local
    said = next((str(cause) for cause in causes if str(cause)), type(error).__name__)
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return TLSError(f"TLS with {where} failed: {said}")
        return ConnectError(f"no connection to {where}: {said}")
    lost = isinstance(error, (httpx.NetworkError, httpx.ProxyError, ssl.SSLError))
    if lost or (
        isinstance(error, httpx.RemoteProtocolError) and ("closed" in said or "disconnected" in said)
    ):
        if answering:
            return IncompleteReply(f"{where}: the connection was lost before the answer was complete: {said}")
        unanswered = ConnectError(f"the connection to {where} was lost before it answered: {said}")
        unanswered.sent = True
        return unanswered
    return ProtocolError(f"{where}: {said}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__
