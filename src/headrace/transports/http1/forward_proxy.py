"""Plain http through a forward proxy, which makes the requests itself."""

from __future__ import annotations

from headrace.calls import Call
from headrace.replies import Reply
from headrace.transports.connecting.proxy import Proxy, proxy_credentials_error
from headrace.transports.http1.connection_pool import Http1Pool


class ForwardProxySender:
    """Makes attempts through a forward proxy. A 407 comes from the proxy, not from the endpoint."""

    def __init__(self, pool: Http1Pool, proxy: Proxy) -> None:
        self._pool = pool
        self._proxy = proxy

    async def send(self, call: Call) -> Reply:
        """Make one attempt; see `Transport.send`."""
        reply = await self._pool.send(call)
        if reply.status == 407:
            raise proxy_credentials_error(self._proxy)
        return reply
