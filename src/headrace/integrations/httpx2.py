"""headrace for what takes an ``httpx2.AsyncClient``: openai 3, anthropic 2, mistralai 3, its own users."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar

import httpx2

from headrace.integrations.bridge import Bridge, BridgedStream
from headrace.integrations.clients import MAX_IN_FLIGHT, BridgedClient, make_client
from headrace.model import Observer, Policy


class _Stream(BridgedStream, httpx2.AsyncByteStream):
    library: ClassVar[ModuleType] = httpx2


class _Client(BridgedClient, httpx2.AsyncClient):
    library: ClassVar[ModuleType] = httpx2


class HeadraceTransport(Bridge, httpx2.AsyncBaseTransport):
    """httpx2's requests through headrace's engine and policies; see `async_client`."""


def async_client(
    *,
    policies: Iterable[Policy] | None = None,
    observers: Iterable[Observer] = (),
    max_in_flight: int = MAX_IN_FLIGHT,
    **options: Any,
) -> httpx2.AsyncClient:
    """An ``httpx2.AsyncClient`` whose requests go through headrace.

    ``policies``: just these, or by default those of the installed plugins with their settings. ``observers``
    are told of events. ``max_in_flight`` (default 1000): further requests wait, for as long as the pool
    timeout allows. ``options`` are those of ``httpx2.AsyncClient``, and sections of settings of plugins, like
    ``retry={"attempts": 5}``. Over a proxy, HTTP/2 or with a client certificate httpx2 makes the requests
    itself, within the same policies.

    Raises `SettingsError` or `PluginError`.
    """
    client: httpx2.AsyncClient = make_client(
        _Client, HeadraceTransport, _Stream, policies, observers, max_in_flight, options
    )
    return client
