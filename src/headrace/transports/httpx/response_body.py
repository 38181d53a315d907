"""The body of a response of httpx: streamed, or as a whole."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import anyio

from headrace.calls import Call
from headrace.errors import ReplyTooLarge
from headrace.transports.connecting.connection_errors import stall_error
from headrace.transports.content_encoding import Decoder, decode_body
from headrace.transports.httpx.errors import translate_httpx_error


async def read_body(response: Any, max_bytes: int) -> bytes:
    """The whole decoded body. Raises `ReplyTooLarge` above ``max_bytes``, and httpx's errors."""
    if response.is_stream_consumed:  # httpx.MockTransport returns responses that are already read
        content: bytes = response.content
        _check_size(len(content), max_bytes)
        return content
    received = bytearray()
    # Raw, because httpx decodes without a limit: a few kilobytes can become gigabytes.
    async with aclosing(response.aiter_raw()) as parts:
        async for part in parts:
            received += part
            _check_size(len(received), max_bytes)
    encodings = response.headers.get("content-encoding", "")
    return decode_body(bytes(received), encodings, max_bytes) if received else b""


class HttpxBody:
    """The body of a streamed response; see `headrace.replies.Body`."""

    def __init__(
        self, httpx: Any, response: Any, call: Call, max_bytes: int, release: Callable[[], None]
    ) -> None:
        self._httpx = httpx
        self._response = response
        self._call = call
        self._max_bytes = max_bytes
        self._release: Callable[[], None] | None = release
        self._size = 0
        self._decoder: Decoder | None = None
        self._parts = response.aiter_raw()

    async def receive(self, until: float) -> bytes:
        unbounded = self._call.unbounded
        if self._decoder is None:
            encodings = self._response.headers.get("content-encoding", "")
            self._decoder = Decoder(encodings, self._max_bytes, unbounded=unbounded)
        try:
            with anyio.CancelScope(deadline=until):
                async for part in self._parts:
                    self._size += len(part)
                    if not unbounded:
                        _check_size(self._size, self._max_bytes)
                    if decoded := self._decoder.feed(part):
                        return decoded
                self._decoder.finish()
                return b""
        except (self._httpx.HTTPError, ssl.SSLError) as error:
            raise translate_httpx_error(self._httpx, error, self._call, response_started=True) from error
        raise stall_error(self._call.endpoint.base_url)

    async def aclose(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            # httpx's nested generators are left to the garbage collector unless they are read to the end,
            # which raises an error on a closed connection.
            with suppress(self._httpx.HTTPError, self._httpx.StreamError):
                async for _ in self._parts:
                    pass


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ReplyTooLarge(f"the response is over max_response_bytes={max_bytes}")
