"""HTTP proxies: which proxy a URL goes through."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from headrace._support.text import shown
from headrace.errors import ProxyError, SettingsError
from headrace.keys import Secret, is_token

ProxyChoice: TypeAlias = "str | Secret | Callable[[str], str | None] | None"
"""The URL of a proxy for all endpoints, a function from an endpoint's URL to its proxy's URL, or None."""


@attrs.frozen
class Proxy:
    """An HTTP proxy. ``authorization`` is the value of ``Proxy-Authorization``, None without credentials."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"

    def first_line(self, received: bytes) -> str:
        """The first line of the proxy's response, for an error; empty if it might contain the credentials."""
        return "" if self.authorization else shown(re.split(rb"[\r\n]", received, maxsplit=1)[0], 80)


def environment_proxy(url: str) -> str | None:
    """The proxy for a URL by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or None."""
    parts = urlsplit(url)
    import urllib.request  # not at the top: it imports an HTTP client

    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass_environment(parts.netloc, proxies):  # type: ignore[attr-defined]
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def select_proxy(choice: ProxyChoice, url: str) -> str | None:
    """The URL of the proxy for an endpoint's URL, or None."""
    if isinstance(choice, Secret):
        return choice.reveal()
    return choice(url) if callable(choice) else choice


def is_http_proxy(url: str) -> bool:
    """Whether the proxy speaks plain HTTP, the only kind that the native transport supports."""
    return url.partition("://")[0].lower() == "http"


def parse_proxy(url: str) -> Proxy:
    """A proxy from its URL, which may contain a user name and a password.

    Raises `SettingsError` if the URL is not that of an HTTP proxy. The message does not repeat the URL.
    """
    hint = "must be like http://proxy.example:3128, or http://USER:PASSWORD@proxy.example:3128"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"proxy: {hint}") from None
    if not is_http_proxy(url):
        scheme = shown(url.partition("://")[0].encode(), 20) if "://" in url else ""
        raise SettingsError(
            f"proxy: the native transport does not support proxies with the scheme {scheme!r}; it {hint}"
        )
    if not host or not is_token(url) or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise SettingsError(f"proxy: {hint}")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(user.encode()).decode()}"
    return Proxy(host, port or 80, authorization)


def proxy_error(message: str, *, retryable: bool = False) -> ProxyError:
    """A `ProxyError` with the given ``retryable``."""
    error = ProxyError(message)
    error.retryable = retryable
    return error


def proxy_unreachable_error(proxy: Proxy, reason: str) -> ProxyError:
    """The error for a proxy that cannot be reached."""
    return proxy_error(
        f"no connection to {proxy}: {reason}; check proxy=, HTTPS_PROXY, HTTP_PROXY", retryable=True
    )


def proxy_credentials_error(proxy: Proxy) -> ProxyError:
    """The error for a proxy that responds with 407."""
    which = "other credentials" if proxy.authorization else "credentials"
    return proxy_error(f"{proxy} requires {which} (status 407); set it as http://USER:PASSWORD@HOST:PORT")
