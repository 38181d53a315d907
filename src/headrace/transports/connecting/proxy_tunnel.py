"""A tunnel through an HTTP proxy (CONNECT; RFC 9110, 9.3.6)."""

from __future__ import annotations

import re
from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.connecting.negotiation import Negotiation
from headrace.transports.connecting.proxy import Proxy, proxy_credentials_error, proxy_error

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller

MAX_HEAD_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: ([^\r\n]*))?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")

_RETRYABLE = frozenset({408, 429})
"""Statuses below 500 after which a retry can help."""


async def open_tunnel(raw_socket: socket, proxy: Proxy, target: str, poller: Poller) -> None:
    """Make a connected proxy forward everything that follows to ``target``, a host and port.

    Closes the socket on failure. Raises `ProxyError`, or `OSError` for a local failure.
    """
    await _ProxyTunnel(raw_socket, proxy, target, poller).run()


class _ProxyTunnel(Negotiation):
    """The CONNECT request, and the proxy's response."""

    __slots__ = ("_proxy", "_received", "_target")

    def __init__(self, raw_socket: socket, proxy: Proxy, target: str, poller: Poller) -> None:
        super().__init__(raw_socket, poller)
        self._proxy = proxy
        self._target = target
        self._received = b""

    def start(self) -> bool:
        """See `Negotiation.start`."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return False

    def feed(self, data: bytes) -> bool:
        """See `Negotiation.feed`."""
        self._received += data
        proxy = self._proxy
        if not b"HTTP/1.".startswith(self._received[:7]):
            raise proxy_error(f"{proxy} does not speak HTTP {proxy.first_line(self._received)}")
        while end := _END.search(self._received):
            head, self._received = self._received[: end.end()], self._received[end.end() :]
            line = _STATUS_LINE.match(head)
            if line is None:
                raise proxy_error(f"{proxy} does not speak HTTP {proxy.first_line(head)}")
            status = int(line[1])
            if status >= 200:
                self._check(status, line[2] or b"")
                return True
        if len(self._received) > MAX_HEAD_BYTES:
            raise proxy_error(f"the response of {proxy} has more than {MAX_HEAD_BYTES} bytes of headers")
        return False

    def _check(self, status: int, reason: bytes) -> None:
        proxy = self._proxy
        if status == 407:
            raise proxy_credentials_error(proxy)
        if status >= 300:
            retryable = status >= 500 or status in _RETRYABLE
            text = f"{status} {proxy.first_line(reason)}".rstrip()
            raise proxy_error(
                f"{proxy} does not open a tunnel to {self._target}: status {text}", retryable=retryable
            )
        if self._received:
            # A TLS server sends nothing before the client does.
            raise proxy_error(f"{proxy} sends data before the endpoint can")

    def disconnected_error(self) -> Exception:
        """See `Negotiation.disconnected_error`."""
        return proxy_error(f"{self._proxy} closed the connection before it answered", retryable=True)
