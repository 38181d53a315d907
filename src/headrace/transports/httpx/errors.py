"""The errors of httpx and httpx2 as headrace's errors."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

from headrace.calls import Call
from headrace.errors import (
    CallError,
    CallTimeout,
    ConnectError,
    IncompleteReply,
    ProtocolError,
    TLSError,
)
from headrace.transports.connecting.connection_errors import (
    certificate_rejected_error,
    is_certificate_rejection,
)
from headrace.transports.connecting.local_limits import local_resource_error


def translate_httpx_error(httpx: Any, error: Exception, call: Call, *, response_started: bool) -> CallError:
    """The `CallError` for an error of ``httpx`` (or of its SSL layer) in an attempt."""
    where = call.endpoint.base_url
    if isinstance(error, httpx.TimeoutException):
        phase = "connect" if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout)) else "read"
        if isinstance(error, httpx.WriteTimeout):
            phase = "write"
        return CallTimeout(f"{phase} timeout with {where}", phase)
    causes = list(_causes(error))
    for cause in causes:
        if is_certificate_rejection(cause):
            return certificate_rejected_error(where, cause)
        if (local := local_resource_error(cause, where)) is not None:
            return local
    text = next((str(cause) for cause in causes if str(cause)), type(error).__name__)
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return TLSError(f"TLS with {where} failed: {text}")
        return ConnectError(f"no connection to {where}: {text}")
    lost = isinstance(error, (httpx.NetworkError, httpx.ProxyError, ssl.SSLError))
    if lost or (
        isinstance(error, httpx.RemoteProtocolError) and ("closed" in text or "disconnected" in text)
    ):
        if response_started:
            return IncompleteReply(
                f"{where}: the connection was lost before the response was complete: {text}"
            )
        unanswered = ConnectError(f"the connection to {where} was lost before it answered: {text}")
        unanswered.sent = True
        return unanswered
    return ProtocolError(f"{where}: {text}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _causes(member)
        error = error.__cause__ or error.__context__
