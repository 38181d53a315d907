"""Errors of sockets and TLS as headrace's errors."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TypeGuard

from headrace.calls import Timeout
from headrace.errors import CallError, CallTimeout, ConnectError, IncompleteReply, TLSError

CLOSED = "this client was closed while calls were in flight"

_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""Parts of the names of the alerts (RFC 8446, 6.2) with which a server rejects a client."""


def connect_error(error: OSError, where: str) -> ConnectError:
    """The error for a connection that could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSError(
            f"the certificate of {where} is not valid: {error.verify_message}; "
            "check base_url, or set SSL_CERT_FILE to your own certificate authority"
        )
    aborted = isinstance(error, ConnectionAbortedError) and error.errno is not None  # by the peer
    if aborted or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectError(f"{where} closed the connection during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        hint = "; check that it uses TLS" if error.reason == "WRONG_VERSION_NUMBER" else ""
        return TLSError(f"TLS with {where} failed: {error.reason or error}{hint}")
    if isinstance(error, socket.gaierror):
        return ConnectError(f"the host of {where} does not resolve ({error.strerror}); check base_url")
    if error.errno == errno.ECONNREFUSED:
        return ConnectError(f"connection refused by {where}; is the endpoint running, and is base_url right?")
    return ConnectError(f"no connection to {where}: {os.strerror(error.errno) if error.errno else error}")


def connection_lost_error(
    where: str, how: str, cause: BaseException | None, *, response_started: bool
) -> CallError:
    """The error for a connection, or an HTTP/2 stream, that ended too early.

    Args:
        where: The peer's address.
        how: What happened, for example "closed the connection".
        cause: The error of the system or of TLS, or None.
        response_started: Whether part of the response has arrived.
    """
    if is_certificate_rejection(cause):
        return certificate_rejected_error(where, cause)
    if response_started:
        return IncompleteReply(f"{where} {how} before the response was complete")
    lost = ConnectError(f"{where} {how} before it answered")
    lost.sent = True
    return lost


def is_certificate_rejection(error: BaseException | None) -> TypeGuard[ssl.SSLError]:
    """Whether the server rejects this client's certificate, or the lack of one.

    With TLS 1.3 the rejection arrives after the handshake, while the client waits for the response.
    """
    reason = (isinstance(error, ssl.SSLError) and error.reason) or ""
    return "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS)


def certificate_rejected_error(where: str, error: ssl.SSLError) -> TLSError:
    """The error for `is_certificate_rejection`."""
    return TLSError(
        f"{where} rejects this client's certificate, or requires one ({error.reason}); "
        "set the right one with cert="
    )


def timeout_error(where: str, phase: str, timeout: Timeout, *, in_total: bool) -> CallTimeout:
    """The error for an attempt that timed out in a phase."""
    if in_total:
        return CallTimeout(
            f"no complete response from {where} within {timeout.total:g} s ({phase}); raise timeout=",
            phase if phase == "connect" else "total",
        )
    limit: float = getattr(timeout, phase)
    return CallTimeout(f"{phase} timeout: {where} was silent for {limit:g} s", phase)


def stall_error(where: str) -> CallTimeout:
    """The error for a streamed response that stops arriving."""
    return CallTimeout(f"{where} stopped sending in the middle of a response", "stall")
