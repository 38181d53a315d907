"""Writes requests. The head for a method and path is built once per endpoint and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from headrace.calls import Content, Request
from headrace.endpoint import FRAMING, Endpoint, unsendable
from headrace.errors import RequestError
from headrace.keys import RefreshableKey
from headrace.transports.connecting.proxy import Proxy

_SCOPE = re.compile(r"%.*\]")
"""The scope of an IPv6 address. It is only valid on this machine (RFC 6874, section 4)."""

_HEAD_CACHE = 256
_ENCODINGS = "gzip, deflate"

_HTTP1_ONLY = frozenset({"keep-alive", "proxy-connection", "te", "upgrade"})
"""Connection headers, which HTTP/2 forbids (RFC 9113, 8.2.2), other than those in `FRAMING`."""

Head = TypeVar("Head")


class RequestWriter(Generic[Head]):
    """Writes the requests to one endpoint. The head for a method, path and headers is built once per key.

    Requests to a forward ``proxy`` contain the whole URL (RFC 9112, 3.2.2) and the proxy's credentials.

    Raises `RequestError` for headers that HTTP does not allow, or that only headrace sets.
    """

    def __init__(self, endpoint: Endpoint, proxy: Proxy | None = None) -> None:
        self._endpoint = endpoint
        parts = urlsplit(endpoint.base_url)
        self._host = _SCOPE.sub("]", parts.netloc)
        self._base = parts.path if proxy is None else f"http://{self._host}{parts.path}"
        self._authorization = None if proxy is None else proxy.authorization
        self._heads: dict[tuple[str, str, Any, bool], Head] = {}
        self._renewed = endpoint.api_key if isinstance(endpoint.api_key, RefreshableKey) else None
        self._version: int | None = None
        if self._renewed is None:
            self._common = self._base_headers()

    def head(self, request: Request, *, streamed: bool) -> Head:
        """The head of a request. A ``streamed`` request asks for no content encoding."""
        renewed = self._renewed
        if renewed is not None and self._version != renewed.version:
            self._common = self._base_headers()
            self._heads.clear()
            self._version = renewed.version
        key = request.method, request.path, request.headers, streamed
        return self._heads.get(key) or self._add_head(*key)

    def _base_headers(self) -> dict[str, str]:
        """The headers of all requests, with the current key."""
        endpoint = self._endpoint
        headers = {"Host": self._host}
        if self._authorization is not None:
            headers["Proxy-Authorization"] = self._authorization
        headers |= endpoint.credentials()
        headers |= {"Accept": "application/json", "Accept-Encoding": _ENCODINGS}
        from importlib.metadata import version  # not at the top: see headrace.pipeline.plugin_manager

        headers["User-Agent"] = f"headrace/{version('headrace')}"
        return _merge(headers, endpoint.headers)

    def _add_head(self, method: str, path: str, headers: tuple[tuple[str, str], ...], streamed: bool) -> Head:
        problem = unsendable(dict(headers), FRAMING)
        if problem:
            raise RequestError(problem)
        merged = dict(self._common)
        if streamed and merged.get("Accept-Encoding") == _ENCODINGS:
            merged["Accept-Encoding"] = "identity"  # so that no event waits in a compressor
        merged = _merge(merged, dict(headers))
        if len(self._heads) == _HEAD_CACHE:  # paths and headers may contain ids, without limit
            self._heads.clear()
        head = self._build_head(method, self._base + path, merged)
        self._heads[method, path, headers, streamed] = head
        return head

    def _build_head(self, method: str, target: str, headers: dict[str, str]) -> Head:
        raise NotImplementedError


class Http1Writer(RequestWriter[tuple[bytes, bytes]]):
    """Writes HTTP/1.1 requests to one endpoint."""

    def write(self, request: Request, content: Content, *, streamed: bool) -> bytes:
        """The bytes of one request. A ``content`` that is read in parts is not included."""
        head, content_type = self.head(request, streamed=streamed)
        if not isinstance(content, bytes):
            return b"%b%bContent-Length: %d\r\n\r\n" % (head, content_type, len(content))
        if content:
            return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, content_type, len(content), content)
        return head + (b"\r\n" if request.method in {"GET", "HEAD"} else b"Content-Length: 0\r\n\r\n")

    def _build_head(self, method: str, target: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
        text = f"{method} {target} HTTP/1.1\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        content_type = b"" if _has_content_type(headers) else b"Content-Type: application/json\r\n"
        return text.encode("latin-1"), content_type


Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in order, the pseudo-headers (RFC 9113, 8.3) first."""


class Http2Writer(RequestWriter[tuple[Fields, Fields]]):
    """Writes HTTP/2 requests to one endpoint, as lists of fields."""

    def fields(self, request: Request, content: Content, *, streamed: bool) -> Fields:
        """The fields of one request. ``content`` is its JSON body, empty for none."""
        bare, with_content_type = self.head(request, streamed=streamed)
        if content:
            return [*with_content_type, (b"content-length", b"%d" % len(content))]
        return bare

    def _build_head(self, method: str, target: str, headers: dict[str, str]) -> tuple[Fields, Fields]:
        scheme = urlsplit(self._endpoint.base_url).scheme
        headers = {name.lower(): value for name, value in headers.items() if name.lower() not in _HTTP1_ONLY}
        written = {":method": method, ":scheme": scheme, ":authority": headers.pop("host"), ":path": target}
        items = (written | headers).items()
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in items]
        if _has_content_type(headers):
            return fields, fields
        return fields, [*fields, (b"content-type", b"application/json")]


def _has_content_type(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "content-type" for name in headers)


def _merge(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """``headers`` updated with ``others``; names are case-insensitive."""
    replaced = {name.lower() for name in others}
    return {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(others)
