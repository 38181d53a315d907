"""From a request of the library's to a call."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from headrace.calls import Call, Event, Request, Timeout
from headrace.endpoint import Endpoint
from headrace.wire.batch_lines import EncodedBody

_OF_THE_CONNECTION = frozenset(
    {b"accept-encoding", b"connection", b"content-length", b"host", b"transfer-encoding"}
)
"""Headers that are not sent on: the transport has its own, and asks for the encodings that it can undo."""

_TO_ANOTHER_ORIGIN = frozenset({b"accept", b"accept-language", b"content-type", b"range", b"user-agent"})
"""Headers that follow a redirect to another origin; any other may hold a credential."""

STREAMED = "headrace.streamed"
"""Extension of a request: whether its response is to be handed over as it comes."""

REDIRECTED_FROM = "headrace.redirected_from"
"""Extension of a request that a redirect made: the origin that the first one of them went to."""

_SHORTEST = 1e-6
"""Seconds; what a timeout of 0 is taken for."""


_MOST_HEADS = 256


class _Head(NamedTuple):
    """Headers to be sent, and what they say of the request."""

    headers: tuple[tuple[str, str], ...]
    wants_events: bool
    is_retry: bool


class Calls:
    """Makes calls, remembering what is the same in many: origins, timeouts, headers."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._timeouts: dict[tuple[Any, ...], Timeout] = {}
        self._heads: dict[tuple[tuple[bytes, bytes], ...], _Head] = {}
        self._endpoints: dict[str, Endpoint] = {}

    async def of(
        self, request: Any, now: Callable[[], float], notify: Callable[[Event], None] | None
    ) -> tuple[Call, bool]:
        """The call that a request of the library's stands for, and whether an SDK makes it again."""
        content = await request.aread()
        extensions = request.extensions
        asked = extensions.get("timeout", {})
        key = asked.get("connect"), asked.get("read"), asked.get("write")
        timeout = self._timeouts.get(key) or self._timeout(*key)
        origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
        endpoint = self._endpoints.get(origin)
        if endpoint is None:
            if request.url.scheme not in {"http", "https"}:
                raise self._library.UnsupportedProtocol(
                    f"headrace speaks http and https, not {request.url.scheme!r}", request=request
                )
            endpoint = self._endpoints[origin] = Endpoint(origin)
        body = _body(content)
        raw = tuple([pair for pair in request.headers.raw if pair[0].lower() not in _OF_THE_CONNECTION])
        if REDIRECTED_FROM in extensions and not _same_origin(extensions[REDIRECTED_FROM], origin):
            # The library takes off "Authorization" alone.
            raw = tuple([pair for pair in raw if pair[0].lower() in _TO_ANOTHER_ORIGIN])
        head = self._heads.get(raw) or self._head(raw)
        unbounded = extensions.get(STREAMED, False)
        streamed = unbounded or head.wants_events or (body is not None and bool(body.asked.stream))
        asking = Request(body, request.url.raw_path.decode("ascii"), request.method, headers=head.headers)
        call = Call(
            asking,
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

    def _head(self, raw: tuple[tuple[bytes, bytes], ...]) -> _Head:
        """The headers of a request as headrace has them; few differ from those of the request before."""
        headers = tuple([(name.decode("ascii"), value.decode("latin-1")) for name, value in raw])
        named = {name.lower(): value for name, value in headers}
        head = _Head(
            headers,
            "text/event-stream" in named.get("accept", ""),
            named.get("x-stainless-retry-count", "0") != "0",
        )
        if len(self._heads) == _MOST_HEADS:
            self._heads.clear()
        self._heads[raw] = head
        return head

    def _timeout(self, connect: float | None, read: float | None, write: float | None) -> Timeout:
        limits = [None if limit is None else max(limit, _SHORTEST) for limit in (connect, read, write)]
        timeout = Timeout(None, connect=limits[0], read=limits[1], write=limits[2], stall=limits[1])
        if len(self._timeouts) == _MOST_HEADS:
            self._timeouts.clear()
        self._timeouts[connect, read, write] = timeout
        return timeout


def _same_origin(first: str, origin: str) -> bool:
    """Whether credentials for the one may go to the other: the same, or the same host by https."""
    return origin in {first, f"https{first.removeprefix('http')}"}


def _body(content: bytes) -> EncodedBody | None:
    try:
        return EncodedBody(content) if content else None
    except (msgspec.DecodeError, RecursionError):
        return None  # a file, a form
