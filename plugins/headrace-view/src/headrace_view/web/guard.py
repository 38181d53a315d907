"""Lets only the page's own requests through: the token, the host and the origin of each are checked.

The token is the first part of each path, so there is no cookie that another page could use. The host is
checked because a foreign name may be made to lead to this machine (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types headrace-charts"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_OWN_SITES = (None, "same-origin", "none")
"""Values of ``Sec-Fetch-Site`` of requests that no other page caused."""


class Guard:
    """ASGI middleware; an unknown request gets 403 or 404 and learns nothing.

    Args:
        app: The application; the token is in its ``root_path``.
        token: The secret in the page's URL.
        hosts: The names in a ``Host`` header, without ports, that are allowed beside addresses.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await PlainTextResponse(*refusal)(scope, receive, send_guarded)
            return
        await self._app({**scope, "root_path": f"/{self._token}"}, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[str, int] | None:
        """Why a request is refused, and the status; None if it is allowed."""
        headers: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"origin"):
                return "a header occurs twice", 400
            headers[name] = value.decode("latin-1")
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self._is_own_host(host):
            return "not a name of this server", 403
        token = scope["path"].removeprefix("/").partition("/")[0]  # OPTIONS has a path without a slash: *
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return "the page's whole URL is needed, as headrace view prints it", 404
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return "not for other pages", 403
        if headers.get(b"sec-fetch-site") not in _OWN_SITES:
            return "not for other pages", 403
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return "not for other pages", 403
        return None

    def _is_own_host(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.lower() in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def loopback_hosts(host: str) -> frozenset[str]:
    """The names that may lead to a server that listens at this host."""
    return frozenset({"localhost", host.lower()})
