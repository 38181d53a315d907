"""headrace for code that takes an ``httpx2.AsyncClient``, such as openai 3, anthropic 2 and mistralai 3."""

from __future__ import annotations

import httpx2

from headrace.integrations.bridge import BridgeTransport
from headrace.integrations.client_factory import ClientFactory


class HeadraceTransport(BridgeTransport, httpx2.AsyncBaseTransport):
    """Sends the requests of httpx2 through headrace's engine and policies; see `async_client`."""


async_client: ClientFactory[httpx2.AsyncClient] = ClientFactory(httpx2, httpx2.AsyncClient, HeadraceTransport)
"""Makes an ``httpx2.AsyncClient`` that sends its requests through headrace."""
