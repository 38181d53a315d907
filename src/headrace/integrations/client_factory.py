"""Clients of a library with headrace inside: whose each option is."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.integrations.bridge import Bridge, BridgedStream
from headrace.integrations.call_factory import STREAMED
from headrace.integrations.request_templates import TemplatingClient
from headrace.policies import Observer, Policy

MAX_IN_FLIGHT = 1000
"""As many requests as the SDKs' own clients allow at once."""

_OF_A_TRANSPORT = frozenset({"cert", "http1", "http2", "limits", "mounts", "proxy", "trust_env", "verify"})
_OF_BOTH = frozenset({"trust_env"})


class BridgedClient(TemplatingClient):
    """The part of a client that is the same for both libraries; comes before the library's own class."""

    def send(self, request: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Send a request; see ``send`` of the library's ``AsyncClient``."""
        # The library does not tell a transport whether the caller reads the response as it comes.
        request.extensions[STREAMED] = options.get("stream", False)
        return super().send(request, **options)  # type: ignore[misc, no-any-return]


def make_client(
    client: type[BridgedClient],
    transport: type[Bridge],
    stream: type[BridgedStream],
    policies: Iterable[Policy] | None,
    observers: Iterable[Observer],
    max_in_flight: int,
    options: Mapping[str, Any],
) -> Any:
    """A client of this class over a ``transport`` that gives its answers as ``stream``."""
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
    # As the SDKs' own clients are made; the libraries' are not.
    return client(transport=bridge, **({"follow_redirects": True} | theirs))


def _split(client: type, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options for the transport, sections of settings, and options for the client of this class.

    Raises `SettingsError` for one that is nobody's.
    """
    known = set(inspect.signature(client.__init__).parameters) - {"self"}  # type: ignore[misc]
    own = {name: value for name, value in options.items() if name in _OF_A_TRANSPORT}
    theirs = {name: value for name, value in options.items() if name in known - _OF_A_TRANSPORT | _OF_BOTH}
    if "transport" in theirs:
        raise SettingsError("transport= is headrace's here; leave it out, or make the library's own client")
    sections = {name: value for name, value in options.items() if name not in known}
    for name, value in sections.items():
        if not isinstance(value, Mapping):
            raise SettingsError(f"async_client has no option {name!r}; {nearest(name, known)}")
    return own, sections, theirs
