"""Makes clients of a library that use headrace, and sorts their options."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.integrations.bridge import BridgeStream, BridgeTransport
from headrace.integrations.call_factory import STREAMED
from headrace.integrations.request_templates import TemplatingClient
from headrace.policies import Observer, Policy

MAX_IN_FLIGHT = 1000
"""Requests at once: as many as the SDKs' own clients allow."""

_TRANSPORT_OPTIONS = frozenset({"cert", "http1", "http2", "limits", "mounts", "proxy", "trust_env", "verify"})
_SHARED_OPTIONS = frozenset({"trust_env"})


class BridgeClient(TemplatingClient):
    """The part of a client that both libraries share; a base class in front of the library's own."""

    def send(self, request: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Send a request; see ``send`` of the library's ``AsyncClient``."""
        # The library does not tell a transport whether the caller reads the response as a stream.
        request.extensions[STREAMED] = options.get("stream", False)
        return super().send(request, **options)  # type: ignore[misc, no-any-return]


def make_client(
    client: type[BridgeClient],
    transport: type[BridgeTransport],
    stream: type[BridgeStream],
    policies: Iterable[Policy] | None,
    observers: Iterable[Observer],
    max_in_flight: int,
    options: Mapping[str, Any],
) -> Any:
    """A client of this class over a ``transport`` whose responses have a ``stream``."""
    own, sections, theirs = _split(client.library.AsyncClient, options)
    bridge = transport(
        client.library,
        stream,
        policies=policies,
        observers=observers,
        max_in_flight=max_in_flight,
        options=own,
        sections=sections,
    )
    # Like the SDKs' own clients, and unlike the libraries'.
    return client(transport=bridge, **({"follow_redirects": True} | theirs))


def _split(client: type, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of the transport, sections of settings, and options of the client.

    Raises `SettingsError` for an unknown option.
    """
    known = set(inspect.signature(client.__init__).parameters) - {"self"}  # type: ignore[misc]
    own = {name: value for name, value in options.items() if name in _TRANSPORT_OPTIONS}
    theirs = {
        name: value for name, value in options.items() if name in known - _TRANSPORT_OPTIONS | _SHARED_OPTIONS
    }
    if "transport" in theirs:
        raise SettingsError("transport= is set by headrace; remove it, or use the library's own client")
    sections = {name: value for name, value in options.items() if name not in known}
    for name, value in sections.items():
        if not isinstance(value, Mapping):
            raise SettingsError(f"async_client has no option {name!r}; {nearest(name, known)}")
    return own, sections, theirs
