"""headrace's errors as the exceptions of httpx and httpx2, which their users catch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from headrace.errors import (
    CallTimeout,
    ConnectError,
    HeadraceError,
    LocalResourceError,
    ProtocolError,
    ProxyError,
    ReplyTooLarge,
)

_TIMEOUTS = {"connect": "ConnectTimeout", "queue": "PoolTimeout", "write": "WriteTimeout"}


def translate_error(library: ModuleType, error: HeadraceError, request: Any) -> Exception:
    """The library's exception for ``error``, or ``error`` itself if there is none, as for an open circuit."""
    name, text = None, str(error)
    if isinstance(error, CallTimeout):
        name = _TIMEOUTS.get(error.phase, "ReadTimeout")
    elif isinstance(error, ProxyError):
        name = "ProxyError"
    elif isinstance(error, (ConnectError, LocalResourceError)):
        name = "ConnectError"
    elif isinstance(error, ProtocolError):
        name = "RemoteProtocolError"
    elif isinstance(error, ReplyTooLarge):
        name = "ReadError"
        text += "; read it as a stream, which may have any size, or raise HEADRACE_MAX_RESPONSE_BYTES"
    if name is None:
        return error
    exception: Exception = getattr(library, name)(text, request=request)
    return exception
