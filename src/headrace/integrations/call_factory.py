"""Makes calls from requests of a library."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from headrace.calls import Call, Event, Request, Timeout
from headrace.endpoint import Endpoint
from headrace.wire.batch_lines import EncodedBody

_CONNECTION_HEADERS = frozenset(
    {b"accept-encoding", b"connection", b"content-length", b"host", b"transfer-encoding"}
)
"""Headers that are not forwarded: the transport sets its own, and the encodings that it can decode."""

_SAFE_FOR_OTHER_ORIGINS = frozenset({b"accept", b"accept-language", b"content-type", b"range", b"user-agent"})
"""Headers that are kept in a redirect to another origin; any other may contain a credential."""

STREAMED = "headrace.streamed"
"""Extension of a request: whether the caller reads its response as a stream."""

REDIRECTED_FROM = "headrace.redirected_from"
"""Extension of a redirected request: the origin of the first request."""

_MIN_TIMEOUT = 1e-6
"""Seconds; replaces a timeout of 0."""


_MAX_CACHED = 256


class _ParsedHeaders(NamedTuple):
    """Headers to send, and flags read from them."""

    headers: tuple[tuple[str, str], ...]
    wants_events: bool
    is_retry: bool


class CallFactory:
    """Makes calls. It caches what many calls share: endpoints, timeouts, headers."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._timeouts: dict[tuple[Any, ...], Timeout] = {}
        self._heads: dict[tuple[tuple[bytes, bytes], ...], _ParsedHeaders] = {}
        self._endpoints: dict[str, Endpoint] = {}

    async def build(
        self, request: Any, now: Callable[[], float], notify: Callable[[Event], None] | None
    ) -> tuple[Call, bool]:
        """The call for a request of the library, and whether the request is an SDK's retry."""
        content = await request.aread()
        extensions = request.extensions
        limits = extensions.get("timeout", {})
        key = limits.get("connect"), limits.get("read"), limits.get("write")
        timeout = self._timeouts.get(key) or self._timeout(*key)
        origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
        endpoint = self._endpoints.get(origin)
        if endpoint is None:
            if request.url.scheme not in {"http", "https"}:
                raise self._library.UnsupportedProtocol(
                    f"headrace supports http and https, not {request.url.scheme!r}", request=request
                )
            endpoint = self._endpoints[origin] = Endpoint(origin)
        body = _body(content)
        raw = tuple([pair for pair in request.headers.raw if pair[0].lower() not in _CONNECTION_HEADERS])
        if REDIRECTED_FROM in extensions and not _same_origin(extensions[REDIRECTED_FROM], origin):
            # The library removes only "Authorization".
            raw = tuple([pair for pair in raw if pair[0].lower() in _SAFE_FOR_OTHER_ORIGINS])
        head = self._heads.get(raw) or self._head(raw)
        unbounded = extensions.get(STREAMED, False)
        streamed = unbounded or head.wants_events or (body is not None and bool(body.fields.stream))
        api_request = Request(
            body, request.url.raw_path.decode("ascii"), request.method, headers=head.headers
        )
        call = Call(
            api_request,
            endpoint,
            content,
            timeout,
            now(),
            notify=notify,
            streamed=streamed,
            unbounded=unbounded,
            now=now,
        )
        return call, head.is_retry

    def _head(self, raw: tuple[tuple[bytes, bytes], ...]) -> _ParsedHeaders:
        """The headers of a request as headrace writes them; most requests have the same."""
        headers = tuple([(name.decode("ascii"), value.decode("latin-1")) for name, value in raw])
        named = {name.lower(): value for name, value in headers}
        head = _ParsedHeaders(
            headers,
            "text/event-stream" in named.get("accept", ""),
            named.get("x-stainless-retry-count", "0") != "0",
        )
        if len(self._heads) == _MAX_CACHED:
            self._heads.clear()
        self._heads[raw] = head
        return head

    def _timeout(self, connect: float | None, read: float | None, write: float | None) -> Timeout:
        limits = [None if limit is None else max(limit, _MIN_TIMEOUT) for limit in (connect, read, write)]
        timeout = Timeout(None, connect=limits[0], read=limits[1], write=limits[2], stall=limits[1])
        if len(self._timeouts) == _MAX_CACHED:
            self._timeouts.clear()
        self._timeouts[connect, read, write] = timeout
        return timeout


def _same_origin(first: str, origin: str) -> bool:
    """Whether credentials may be forwarded: to the same origin, or to the same host over https."""
    return origin in {first, f"https{first.removeprefix('http')}"}


def _body(content: bytes) -> EncodedBody | None:
    try:
        return EncodedBody(content) if content else None
    except (msgspec.DecodeError, RecursionError):
        return None  # a file, a form
