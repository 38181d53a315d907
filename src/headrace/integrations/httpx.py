"""headrace for code that takes an ``httpx.AsyncClient``, such as openai 2."""

from __future__ import annotations

import httpx

from headrace.integrations.bridge import BridgeTransport
from headrace.integrations.client_factory import ClientFactory


class HeadraceTransport(BridgeTransport, httpx.AsyncBaseTransport):
    """Sends the requests of httpx through headrace's engine and policies; see `async_client`."""


async_client: ClientFactory[httpx.AsyncClient] = ClientFactory(httpx, httpx.AsyncClient, HeadraceTransport)
"""Makes an ``httpx.AsyncClient`` that sends its requests through headrace."""
