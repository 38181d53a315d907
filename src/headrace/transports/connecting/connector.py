"""Opens connections: TCP, then TLS where the URL says https; foreign errors become headrace's here."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, TypeGuard

import certifi

from headrace.errors import CallError, ConnectError, IncompleteReply, TLSError
from headrace.transports.connecting.address import Address
from headrace.transports.connecting.handshake_limiter import Turns
from headrace.transports.connecting.local_limits import local_resource_error
from headrace.transports.connecting.proxy import Proxy, open_tunnel, unreachable
from headrace.transports.connecting.tls_handshake import Handshake
from headrace.transports.connecting.tls_session_cache import Sessions
from headrace.transports.sockets.tls_session import HTTP1, HTTP2, TlsSession
from headrace.transports.sockets.watched_socket import Connected

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller

_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""In the names of the alerts (RFC 8446, 6.2) by which a server refuses a client."""


def default_ssl_context() -> ssl.SSLContext:
    """A verifying context on the system's store of certificates, or certifi's where the system has none.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured, as OpenSSL does. Raises `OSError` where a file of
    certificates cannot be opened.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None and not context.cert_store_stats()["x509"]:
        with open(paths.cafile, "rb"):  # OpenSSL goes on without what it cannot open, and trusts nobody then
            pass
    if paths.cafile is None and not (paths.capath and os.listdir(paths.capath)):
        context.load_verify_locations(certifi.where())
    return context


class Connector:
    """Opens the connections of one origin: TCP, then with ``context`` verified TLS whose name is ``host``.

    By way of a ``proxy`` where there is one. It passes on what is said over TLS or HTTP/2; a request over
    plain HTTP/1.1 it makes itself, see `RequestWriter`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        poller: Poller,
        proxy: Proxy | None = None,
    ) -> None:
        self._name = tls_name(host)
        self._target = f"[{self._name}]:{port}" if ":" in host else f"{self._name}:{port}"
        self.where = f"{host}:{port}" if proxy is None else f"{host}:{port} through {proxy}"
        self._address = Address(host, port) if proxy is None else Address(proxy.host, proxy.port)
        self._proxy = proxy
        self._context = context
        self._poller = poller
        self._sessions = None if context is None else Sessions(context)
        self.turns: AbstractAsyncContextManager[object] = nullcontext() if context is None else Turns()
        """Held by each `connect`; without TLS it takes next to nothing, and any number begin at once."""

    def connect_at_once(self) -> Connected | None:
        """A new connection where none has to be waited for; None: use `connect`."""
        raw_socket = self._address.connected_at_once() if self._context is None else None
        return None if raw_socket is None else Connected(raw_socket)

    def timed_out(self, began: float) -> None:
        """A `connect` that began then came to no end in time."""
        self._address.timed_out(began)

    async def connect(self, protocols: Sequence[str]) -> Connected:
        """A new connection with one of ``protocols``; the first of them where there is no TLS.

        A server that does not choose speaks HTTP/1.1.

        Raises `TLSError` for a failed handshake or certificate, `ProxyError` where a proxy is at fault,
        `LocalResourceError` where this machine has no connection left, `ConnectError` for the rest.
        """
        try:
            raw_socket = await self._reached()
            if self._proxy is not None and (self._context is not None or protocols[0] == HTTP2):
                await open_tunnel(raw_socket, self._proxy, self._target, self._poller)
            if self._context is None or self._sessions is None:
                return Connected(raw_socket, protocol=protocols[0])
            tls = await self._secured(raw_socket, self._context, self._sessions, protocols)
            return Connected(raw_socket, tls, tls.protocol or HTTP1)
        except OSError as error:
            named = local_resource_error(error, self.where) or _named(error, self.where)
            raise named from error

    async def _reached(self) -> socket.socket:
        """A socket connected to the endpoint, or to the proxy."""
        address = self._address
        try:
            at_once = None if self._context is None else address.connected_at_once()
            return at_once or await address.connected()
        except OSError as error:
            if self._proxy is None or local_resource_error(error, self.where) is not None:
                raise
            raise unreachable(self._proxy, error.strerror or str(error)) from error

    async def _secured(
        self,
        raw_socket: socket.socket,
        context: ssl.SSLContext,
        sessions: Sessions,
        protocols: Sequence[str],
    ) -> TlsSession:
        """TLS over a connected socket, which is closed where that fails."""
        try:
            context.set_alpn_protocols(list(protocols))  # each time, for the context may be shared
            tls = TlsSession(context, self._name, sessions.to_resume())
        except BaseException:
            raw_socket.close()
            raise
        await Handshake(raw_socket, tls, self._poller).over()
        sessions.connected(tls.object)
        return tls


def _named(error: OSError, where: str) -> ConnectError:
    """headrace's error for one of the system's or of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSError(
            f"the certificate of {where} is not valid: {error.verify_message}; "
            "check base_url, or name your own authority with SSL_CERT_FILE"
        )
    aborted = isinstance(error, ConnectionAbortedError) and error.errno is not None  # not by this side
    if aborted or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectError(f"{where} closed the connection during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        hint = "; does it speak TLS at all?" if error.reason == "WRONG_VERSION_NUMBER" else ""
        return TLSError(f"TLS with {where} failed: {error.reason or error}{hint}")
    return ConnectError(_explained(where, error))


def tls_name(host: str) -> str:
    """A host as TLS names it: without the dot that ends a full name, or the scope of an IPv6 address."""
    return host.partition("%")[0].removesuffix(".")  # RFC 6066, 3; RFC 6874, 4


def refuses_certificate(error: BaseException | None) -> TypeGuard[ssl.SSLError]:
    """Whether the other side says that this side's certificate, or that it has none, will not do.

    With TLS 1.3 that comes after the handshake, where the answer is waited for.
    """
    reason = (isinstance(error, ssl.SSLError) and error.reason) or ""
    return "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS)


def connection_lost(where: str, how: str, cause: BaseException | None, *, answering: bool) -> CallError:
    """The error for a connection, or a stream of one, that ended too early.

    Args:
        where: Whose it was.
        how: What happened, as "closed the connection".
        cause: The system's or TLS's error, None without one.
        answering: A part of the answer had come.
    """
    if refuses_certificate(cause):
        return certificate_refused(where, cause)
    if answering:
        return IncompleteReply(f"{where} {how} before the answer was complete")
    lost = ConnectError(f"{where} {how} before it answered")
    lost.sent = True
    return lost


def certificate_refused(where: str, error: ssl.SSLError) -> TLSError:
    """The error for what `refuses_certificate`."""
    return TLSError(
        f"{where} refuses this client's certificate, or that it has none ({error.reason}); "
        "name the right one with cert="
    )


def _explained(where: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host of {where} does not resolve ({error.strerror}); check base_url"
    if error.errno == errno.ECONNREFUSED:
        return f"connection refused by {where}; is the endpoint running, and base_url right?"
    return f"no connection to {where}: {os.strerror(error.errno) if error.errno else error}"
