"""Requests as HTTP writes them: the head of a method and path is built once for each endpoint and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from headrace.calls import Request
from headrace.endpoint import FRAMING, Endpoint, unsendable
from headrace.errors import RequestError
from headrace.keys import RenewedKey
from headrace.transports.connecting.proxy import Proxy

_SCOPE = re.compile(r"%.*\]")
"""Of an IPv6 address: it means something on this machine only (RFC 6874, section 4)."""

_HEAD_CACHE = 256
_ENCODINGS = "gzip, deflate"

_HTTP1_ONLY = frozenset({"keep-alive", "proxy-connection", "te", "upgrade"})
"""Headers about the connection, which HTTP/2 forbids (RFC 9113, 8.2.2); `FRAMING` has the others."""

Head = TypeVar("Head")


class RequestWriter(Generic[Head]):
    """Writes the requests to one endpoint; the head of a method, path and headers is built once for each key.

    Requests for a ``proxy`` that makes them itself name the whole URL (RFC 9112, 3.2.2), and carry what opens
    the proxy.

    Raises `RequestError` for a request's headers that HTTP cannot carry, or that are headrace's own to set.
    """

    def __init__(self, endpoint: Endpoint, proxy: Proxy | None = None) -> None:
        self._endpoint = endpoint
        parts = urlsplit(endpoint.base_url)
        self._host = _SCOPE.sub("]", parts.netloc)
        self._base = parts.path if proxy is None else f"http://{self._host}{parts.path}"
        self._authorization = None if proxy is None else proxy.authorization
        self._heads: dict[tuple[str, str, Any, bool], Head] = {}
        self._renewed = endpoint.api_key if isinstance(endpoint.api_key, RenewedKey) else None
        self._version: int | None = None
        if self._renewed is None:
            self._common = self._lines()

    def head(self, request: Request, *, streamed: bool) -> Head:
        """The head of a request; one that is ``streamed`` asks for no encoding."""
        renewed = self._renewed
        if renewed is not None and self._version != renewed.version:
            self._common = self._lines()
            self._heads.clear()
            self._version = renewed.version
        key = request.method, request.path, request.headers, streamed
        return self._heads.get(key) or self._new_head(*key)

    def _lines(self) -> dict[str, str]:
        """The headers of all requests, with the key of now."""
        endpoint = self._endpoint
        lines = {"Host": self._host}
        if self._authorization is not None:
            lines["Proxy-Authorization"] = self._authorization
        lines |= endpoint.credentials()
        lines |= {"Accept": "application/json", "Accept-Encoding": _ENCODINGS}
        from importlib.metadata import version  # not with the module: see headrace.pipeline.plugin_manager

        lines["User-Agent"] = f"headrace/{version('headrace')}"
        return _merged(lines, endpoint.headers)

    def _new_head(self, method: str, path: str, headers: tuple[tuple[str, str], ...], streamed: bool) -> Head:
        wrong = unsendable(dict(headers), FRAMING)
        if wrong:
            raise RequestError(wrong)
        lines = dict(self._common)
        if streamed and lines.get("Accept-Encoding") == _ENCODINGS:
            lines["Accept-Encoding"] = "identity"  # an event must not wait in a compressor
        lines = _merged(lines, dict(headers))
        if len(self._heads) == _HEAD_CACHE:  # paths and headers may hold ids, without end
            self._heads.clear()
        head = self._built(method, self._base + path, lines)
        self._heads[method, path, headers, streamed] = head
        return head

    def _built(self, method: str, target: str, lines: dict[str, str]) -> Head:
        raise NotImplementedError


class Http1Writer(RequestWriter[tuple[bytes, bytes]]):
    """The requests to one endpoint as HTTP/1.1 writes them."""

    def write(self, request: Request, content: bytes, *, streamed: bool) -> bytes:
        """The bytes of one request; ``content`` is its JSON body, empty for none."""
        head, content_type = self.head(request, streamed=streamed)
        if content:
            return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, content_type, len(content), content)
        return head + (b"\r\n" if request.method in {"GET", "HEAD"} else b"Content-Length: 0\r\n\r\n")

    def _built(self, method: str, target: str, lines: dict[str, str]) -> tuple[bytes, bytes]:
        text = f"{method} {target} HTTP/1.1\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        content_type = b"" if _has_content_type(lines) else b"Content-Type: application/json\r\n"
        return text.encode("latin-1"), content_type


Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in order, the pseudo-headers (RFC 9113, 8.3) first."""


class Http2Writer(RequestWriter[tuple[Fields, Fields]]):
    """The requests to one endpoint as HTTP/2 has them: lists of fields."""

    def fields(self, request: Request, content: bytes, *, streamed: bool) -> Fields:
        """The fields of one request; ``content`` is its JSON body, empty for none."""
        bare, with_content_type = self.head(request, streamed=streamed)
        if content:
            return [*with_content_type, (b"content-length", b"%d" % len(content))]
        return bare

    def _built(self, method: str, target: str, lines: dict[str, str]) -> tuple[Fields, Fields]:
        scheme = urlsplit(self._endpoint.base_url).scheme
        lines = {name.lower(): value for name, value in lines.items() if name.lower() not in _HTTP1_ONLY}
        written = {":method": method, ":scheme": scheme, ":authority": lines.pop("host"), ":path": target}
        named = (written | lines).items()
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named]
        if _has_content_type(lines):
            return fields, fields
        return fields, [*fields, (b"content-type", b"application/json")]


def _has_content_type(lines: Mapping[str, str]) -> bool:
    return any(name.lower() == "content-type" for name in lines)


def _merged(lines: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """``lines`` less those that ``others`` have, too, and these."""
    named = {name.lower() for name in others}
    return {name: value for name, value in lines.items() if name.lower() not in named} | dict(others)
