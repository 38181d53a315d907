"""HTTP proxies: which one a URL goes by, and the tunnel through it (CONNECT; RFC 9110, 9.3.6)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from headrace._support.text import shown
from headrace.calls import Call
from headrace.errors import ProxyError, SettingsError
from headrace.keys import Secret, is_token
from headrace.replies import Reply
from headrace.transports.connecting.negotiation import Negotiation

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller
    from headrace.transports.http1.connection_pool import Http1Pool

MAX_HEAD_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: ([^\r\n]*))?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")

_PASSING = frozenset({408, 429})

ProxyChoice: TypeAlias = "str | Secret | Callable[[str], str | None] | None"
"""The URL of a proxy for all endpoints, a function from an endpoint's URL to that of its proxy, or None."""


@attrs.frozen
class Proxy:
    """An HTTP proxy; ``authorization`` is the value of ``Proxy-Authorization``, None without credentials."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"

    def shown(self, said: bytes) -> str:
        """The first line of what it said, for an error; nothing where that may hold the credentials."""
        return "" if self.authorization else shown(re.split(rb"[\r\n]", said, maxsplit=1)[0], 80)


def environment_proxy(url: str) -> str | None:
    """The proxy by which HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY send a URL; None for no proxy."""
    parts = urlsplit(url)
    import urllib.request  # not with the module: it brings an HTTP client of its own

    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass_environment(parts.netloc, proxies):  # type: ignore[attr-defined]
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def chosen_proxy(choice: ProxyChoice, url: str) -> str | None:
    """The URL of the proxy for an endpoint's URL."""
    if isinstance(choice, Secret):
        return choice.reveal()
    return choice(url) if callable(choice) else choice


def is_http_proxy(url: str) -> bool:
    """Whether a proxy is one that is spoken to in plain HTTP, as the native transport can."""
    return url.partition("://")[0].lower() == "http"


def parsed_proxy(url: str) -> Proxy:
    """A proxy by its URL, which may hold user name and password.

    Raises `SettingsError` for what is not the URL of an HTTP proxy; the message does not repeat it.
    """
    hint = "must be like http://proxy.example:3128, or http://USER:PASSWORD@proxy.example:3128"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"proxy: {hint}") from None
    if not is_http_proxy(url):
        scheme = shown(url.partition("://")[0].encode(), 20) if "://" in url else ""
        raise SettingsError(f"proxy: the native transport knows no proxies of kind {scheme!r}; it {hint}")
    if not host or not is_token(url) or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise SettingsError(f"proxy: {hint}")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(user.encode()).decode()}"
    return Proxy(host, port or 80, authorization)


async def open_tunnel(raw_socket: socket, proxy: Proxy, target: str, poller: Poller) -> None:
    """Have a connected proxy pass on what follows to ``target``, a host and port.

    The socket is closed where that fails. Raises `ProxyError`, or `OSError` where this side is at fault.
    """
    await _Tunnel(raw_socket, proxy, target, poller).over()


class _Tunnel(Negotiation):
    """A request to a proxy, and its answer."""

    __slots__ = ("_proxy", "_received", "_target")

    def __init__(self, raw_socket: socket, proxy: Proxy, target: str, poller: Poller) -> None:
        super().__init__(raw_socket, poller)
        self._proxy = proxy
        self._target = target
        self._received = b""

    def begin(self) -> bool:
        """See `Negotiation.begin`."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return False

    def go_on(self, data: bytes) -> bool:
        """See `Negotiation.go_on`."""
        self._received += data
        proxy = self._proxy
        if not b"HTTP/1.".startswith(self._received[:7]):
            raise _error(f"{proxy} does not speak HTTP {proxy.shown(self._received)}")
        while end := _END.search(self._received):
            head, self._received = self._received[: end.end()], self._received[end.end() :]
            line = _STATUS_LINE.match(head)
            if line is None:
                raise _error(f"{proxy} does not speak HTTP {proxy.shown(head)}")
            status = int(line[1])
            if status >= 200:
                self._check(status, line[2] or b"")
                return True
        if len(self._received) > MAX_HEAD_BYTES:
            raise _error(f"the answer of {proxy} has headers of more than {MAX_HEAD_BYTES} bytes")
        return False

    def _check(self, status: int, reason: bytes) -> None:
        proxy = self._proxy
        if status == 407:
            raise wants_credentials(proxy)
        if status >= 300:
            passing = status >= 500 or status in _PASSING
            said = f"{status} {proxy.shown(reason)}".rstrip()
            raise _error(f"{proxy} opens no way to {self._target}: status {said}", retryable=passing)
        if self._received:
            # The other side of a tunnel to a TLS server waits for this one.
            raise _error(f"{proxy} sends something that nobody asked for before the endpoint can")

    def lost(self) -> Exception:
        """See `Negotiation.lost`."""
        return _error(f"{self._proxy} closed the connection before it answered", retryable=True)


def unreachable(proxy: Proxy, why: str) -> ProxyError:
    """The error for a proxy that cannot be reached."""
    return _error(f"no connection to {proxy}: {why}; check proxy=, HTTPS_PROXY, HTTP_PROXY", retryable=True)


def wants_credentials(proxy: Proxy) -> ProxyError:
    """The error for a proxy that answers 407."""
    which = "other credentials" if proxy.authorization else "credentials"
    return _error(f"{proxy} wants {which} (status 407); name it as http://USER:PASSWORD@HOST:PORT")


class Forwarded:
    """Attempts that a proxy of plain http makes for this side: its own 407 is not the endpoint's."""

    def __init__(self, pool: Http1Pool, proxy: Proxy) -> None:
        self._pool = pool
        self._proxy = proxy

    async def send(self, call: Call) -> Reply:
        reply = await self._pool.send(call)
        if reply.status == 407:
            raise wants_credentials(self._proxy)
        return reply


def _error(message: str, *, retryable: bool = False) -> ProxyError:
    error = ProxyError(message)
    error.retryable = retryable
    return error
