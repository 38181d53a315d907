"""headrace for code that takes an ``httpx2.AsyncClient``, such as openai 3, anthropic 2 and mistralai 3."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar

import httpx2

from headrace.integrations.bridge import BridgeStream, BridgeTransport
from headrace.integrations.client_factory import MAX_IN_FLIGHT, BridgeClient, make_client
from headrace.policies import Observer, Policy


class _Stream(BridgeStream, httpx2.AsyncByteStream):
    library: ClassVar[ModuleType] = httpx2


class _Client(BridgeClient, httpx2.AsyncClient):
    library: ClassVar[ModuleType] = httpx2


class HeadraceTransport(BridgeTransport, httpx2.AsyncBaseTransport):
    """Sends the requests of httpx2 through headrace's engine and policies; see `async_client`."""


def async_client(
    *,
    policies: Iterable[Policy] | None = None,
    observers: Iterable[Observer] = (),
    max_in_flight: int = MAX_IN_FLIGHT,
    **options: Any,
) -> httpx2.AsyncClient:
    """An ``httpx2.AsyncClient`` that sends its requests through headrace.

    A streamed response may have any size; one that is read as a whole is limited to ``max_response_bytes``.
    Redirects are followed unless ``follow_redirects=False``; credentials are not sent to another origin. Over
    SOCKS or https proxies httpx2 makes the requests itself, within the same policies. HTTP/2 is used if the
    server chooses it, as in headrace's own client; ``http2=False`` offers only HTTP/1.1.

    Args:
        policies: The policies to use. By default those of the installed plugins, with their settings.
        observers: They receive events.
        max_in_flight: Requests at once, by default 1000. More requests wait, up to the pool timeout.
        options: Options of ``httpx2.AsyncClient``, and sections of plugin settings such as
            ``retry={"attempts": 5}``.

    Returns:
        A client; close it like any other.

    Raises:
        SettingsError: An option or setting is unknown or out of range.
        PluginError: A plugin cannot be loaded.
    """
    client: httpx2.AsyncClient = make_client(
        _Client, HeadraceTransport, _Stream, policies, observers, max_in_flight, options
    )
    return client
