"""Decodes content encodings up to a size limit: a few kilobytes of gzip can contain gigabytes."""

from __future__ import annotations

import zlib

from headrace.errors import CallError, IncompleteReply, ProtocolError, ReplyTooLarge

_MAX_ENCODINGS = 3
_MAX_MEMBERS = 100
"""Members of one gzip body. Servers write one. Each costs a copy of the rest; a small one has 20 bytes."""

_GZIP_MAGIC = b"\x1f\x8b\x08"

_NOT_OFFERED = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"}
)
"""Registered encodings (RFC 9110, 8.4.1, and the IANA registry) that no request offers.

Any other name (``UTF-8``, ``none``) is a misconfiguration of the server and is ignored.
"""


def decode_body(content: bytes, encodings: str, limit: int) -> bytes:
    """Decode a whole body with ``encodings``, the value of content-encoding. Raises like `Decoder`."""
    decoder = Decoder(encodings, limit)
    decoded = decoder.feed(content)
    decoder.finish()
    return decoded


def unreadable_body_note(error: CallError) -> bytes:
    """A note in place of the body of an error response that cannot be read."""
    return f"(the body could not be read: {error})".encode()


class Decoder:
    """Decodes ``encodings`` (the value of content-encoding, in the order they were applied) part by part.

    Each step returns at most ``limit`` bytes in total, or per part if the body is ``unbounded``. Raises
    `ReplyTooLarge` above the limit, `IncompleteReply` for truncated data, and `ProtocolError` for corrupt
    data and for encodings that were not requested.
    """

    def __init__(self, encodings: str, limit: int, *, unbounded: bool = False) -> None:
        self._unbounded = unbounded
        names = [name.strip().lower() for name in encodings.split(",")]
        self._steps: list[_Gzip | _Deflate] = []
        for name in reversed(names):
            if name in {"gzip", "x-gzip"}:
                self._steps.append(_Gzip(limit))
            elif name == "deflate":
                self._steps.append(_Deflate(limit))
            elif name in _NOT_OFFERED:
                raise ProtocolError(f"content-encoding {name!r} was not requested")
        if len(self._steps) > _MAX_ENCODINGS:
            raise ProtocolError(
                f"the response has {len(self._steps)} content encodings; the limit is {_MAX_ENCODINGS}"
            )

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes; empty if more input is needed."""
        try:
            for step in self._steps:
                if self._unbounded:
                    step.reset_limit()
                data = step.feed(data)
        except zlib.error as error:
            raise ProtocolError(f"the response's compressed data is corrupt: {error}") from error
        return data

    def finish(self) -> None:
        """Check that the data is complete at the end of the body."""
        if not all(step.is_whole for step in self._steps):
            raise IncompleteReply("the response's compressed data ends too early")


class _Inflater:
    """zlib with a limit on the total output."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def reset_limit(self) -> None:
        self._left = self._limit

    def inflate(self, inflater: zlib._Decompress, data: bytes) -> bytes:
        result = inflater.decompress(data, self._left + 1)
        self._left -= len(result)
        if self._left < 0:
            raise ReplyTooLarge(f"the decompressed response is over max_response_bytes={self._limit}")
        return result


class _Gzip(_Inflater):
    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._inflater = _new_gzip()
        self._members = 1
        self._started = False
        self._rest: bytes | None = b""
        """Bytes after a member that may start another one (RFC 1952, 2.2). None: they do not."""

    @property
    def is_whole(self) -> bool:
        return self._inflater.eof or not self._started

    def feed(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        while data:
            if self._inflater.eof and not (data := self._next_member(data)):
                break
            self._started = True
            parts.append(self.inflate(self._inflater, data))
            data = self._inflater.unused_data
        return b"".join(parts)

    def _next_member(self, data: bytes) -> bytes:
        """Start another member if these bytes do. Anything else is ignored, as the gzip tool does."""
        if self._rest is None:
            return b""
        data = self._rest + data
        if not data.startswith(_GZIP_MAGIC[: len(data)]):
            self._rest = None
            return b""
        if len(data) < len(_GZIP_MAGIC):
            self._rest = data
            return b""
        if self._members == _MAX_MEMBERS:
            raise ProtocolError(f"the response's gzip data has over {_MAX_MEMBERS} members")
        self._inflater, self._rest = _new_gzip(), b""
        self._members += 1
        return data


class _Deflate(_Inflater):
    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._inflater: zlib._Decompress | None = None
        self._head = b""

    @property
    def is_whole(self) -> bool:
        return not self._head if self._inflater is None else self._inflater.eof

    def feed(self, data: bytes) -> bytes:
        if self._inflater is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return b""
            # RFC 9110 defines it as the zlib format; some servers send raw deflate under this name.
            raw = data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
        return b"" if self._inflater.eof else self.inflate(self._inflater, data)


def _new_gzip() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
