"""headrace for what takes an ``httpx.AsyncClient``: openai 2, its own users."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar

import httpx

from headrace.integrations.bridge import Bridge, BridgedStream
from headrace.integrations.client_factory import MAX_IN_FLIGHT, BridgedClient, make_client
from headrace.policies import Observer, Policy


class _Stream(BridgedStream, httpx.AsyncByteStream):
    library: ClassVar[ModuleType] = httpx


class _Client(BridgedClient, httpx.AsyncClient):
    library: ClassVar[ModuleType] = httpx


class HeadraceTransport(Bridge, httpx.AsyncBaseTransport):
    """httpx's requests through headrace's engine and policies; see `async_client`."""


def async_client(
    *,
    policies: Iterable[Policy] | None = None,
    observers: Iterable[Observer] = (),
    max_in_flight: int = MAX_IN_FLIGHT,
    **options: Any,
) -> httpx.AsyncClient:
    """An ``httpx.AsyncClient`` whose requests go through headrace.

    A response that is read as a stream arrives as it comes and may have any size; one that is read whole
    may have at most ``max_response_bytes``. Redirects are followed unless ``follow_redirects=False``; to
    another origin no credential goes along. Over a proxy of SOCKS or https httpx makes the requests itself,
    within the same policies. HTTP/2 is spoken where the server chooses it, as with headrace's own client;
    ``http2=False`` offers HTTP/1.1 alone.

    Args:
        policies: Just these; by default those of the installed plugins with their settings.
        observers: They are told of events.
        max_in_flight: Requests at once, by default 1000; further ones wait, for as long as the pool timeout
            allows.
        options: Those of ``httpx.AsyncClient``, and sections of settings of plugins, like
            ``retry={"attempts": 5}``.

    Returns:
        A client to be closed as any other.

    Raises:
        SettingsError: An option or setting is unknown or out of range.
        PluginError: A plugin cannot be loaded.
    """
    client: httpx.AsyncClient = make_client(
        _Client, HeadraceTransport, _Stream, policies, observers, max_in_flight, options
    )
    return client
