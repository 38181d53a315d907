"""Requests as HTTP/1.1 writes them: the head of a method and path is built once for each endpoint and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from headrace.endpoints import FRAMING, Endpoint, unsendable
from headrace.errors import RequestError
from headrace.keys import RenewedKey
from headrace.model import Request

_SCOPE = re.compile(r"%.*\]")
"""Of an IPv6 address: it means something on this machine only (RFC 6874, section 4)."""

_HEAD_CACHE = 256
_ENCODINGS = b"\r\nAccept-Encoding: gzip, deflate\r\n"


class RequestWriter:
    """Writes the requests to one endpoint; the head of a method and path is built once.

    Raises `RequestError` for a request's headers that HTTP cannot carry, or that are headrace's own to set.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._base = urlsplit(endpoint.base_url).path
        self._heads: dict[tuple[str, str, Any], tuple[bytes, bytes]] = {}
        if endpoint.has_fixed_key:
            self._common = self._lines()

    def _lines(self) -> dict[str, str]:
        """The headers of all requests, with the key of now."""
        endpoint = self._endpoint
        lines = {"Host": _SCOPE.sub("]", urlsplit(endpoint.base_url).netloc)}
        lines |= endpoint.credentials()
        lines |= {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
        from importlib.metadata import version  # not with the module: see headrace.plugin_manager

        lines["User-Agent"] = f"headrace/{version('headrace')}"
        return _merged(lines, endpoint.headers)

    def write_streamed(self, request: Request, content: bytes) -> bytes:
        """The bytes of a request for a stream, in no encoding: an event must not wait in a compressor."""
        return self.write(request, content).replace(_ENCODINGS, b"\r\nAccept-Encoding: identity\r\n", 1)

    def write(self, request: Request, content: bytes) -> bytes:
        """The bytes of one request; ``content`` is its JSON body, empty for none."""
        key = request.method, request.path, request.headers
        head, content_type = self._heads.get(key) or self._head(*key)
        if content:
            return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, content_type, len(content), content)
        return head + (b"\r\n" if request.method in {"GET", "HEAD"} else b"Content-Length: 0\r\n\r\n")

    def _head(self, method: str, path: str, headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
        wrong = unsendable(dict(headers), FRAMING)
        if wrong:
            raise RequestError(wrong)
        lines = _merged(self._common, dict(headers))
        named = {name.lower() for name in lines}
        text = f"{method} {self._base}{path} HTTP/1.1\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        content_type = b"" if "content-type" in named else b"Content-Type: application/json\r\n"
        if len(self._heads) == _HEAD_CACHE:  # paths and headers may hold ids, without end
            self._heads.clear()
        self._heads[method, path, headers] = written = text.encode("latin-1"), content_type
        return written


class RenewingWriter(RequestWriter):
    """The same for an endpoint whose key changes: with each new key all is built anew."""

    def __init__(self, endpoint: Endpoint, key: RenewedKey) -> None:
        super().__init__(endpoint)
        self._key = key
        self._version = -1

    def write(self, request: Request, content: bytes) -> bytes:
        """See `RequestWriter.write`."""
        if self._version != self._key.version:
            self._common = self._lines()
            self._heads.clear()
            self._version = self._key.version
        return super().write(request, content)


def writer_for(endpoint: Endpoint) -> RequestWriter:
    """What writes the requests to an endpoint."""
    key = endpoint.api_key
    return RenewingWriter(endpoint, key) if isinstance(key, RenewedKey) else RequestWriter(endpoint)


def _merged(lines: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """``lines`` less those that ``others`` have, too, and these."""
    named = {name.lower() for name in others}
    return {name: value for name, value in lines.items() if name.lower() not in named} | dict(others)
