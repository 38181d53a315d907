"""Content encodings, undone within a limit: a few kilobytes of gzip can hold gigabytes."""

from __future__ import annotations

import zlib

from headrace.errors import CallError, IncompleteReply, ProtocolError, ReplyTooLarge

_MAX_ENCODINGS = 3
_MAX_MEMBERS = 100
"""Of gzip; servers write one. Each costs a copy of what follows it, and an empty one has 20 bytes."""

_GZIP_MAGIC = b"\x1f\x8b\x08"

_NOT_OFFERED = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"}
)
"""Encodings that exist (RFC 9110, 8.4.1, and the register) and that no request here asks for.

Any other name (``UTF-8``, ``none``) is a mistake in the server's settings and says nothing about the body.
"""


def decompressed(content: bytes, encodings: str, limit: int) -> bytes:
    """Undo ``encodings`` (the value of content-encoding) on a whole body; raises what `Decoder` does."""
    decoder = Decoder(encodings, limit)
    decoded = decoder.feed(content)
    decoder.finish()
    return decoded


def unreadable(error: CallError) -> bytes:
    """The note that stands for the body of an error status where the body cannot be read."""
    return f"(the body could not be read: {error})".encode()


class Decoder:
    """Undoes ``encodings`` (the value of content-encoding, applied in the order listed) piece by piece.

    No step yields more than ``limit`` bytes in all, or of each piece where the whole is ``unbounded``. Raises
    `ReplyTooLarge` over it, `IncompleteReply` for data cut short, `ProtocolError` for damaged data and for
    encodings that were not offered.
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
                raise ProtocolError(f"content-encoding {name!r} was not asked for")
        if len(self._steps) > _MAX_ENCODINGS:
            raise ProtocolError(f"the answer has {len(self._steps)} content encodings, one on the other")

    def feed(self, data: bytes) -> bytes:
        """What these bytes decode to; empty where more of them are needed."""
        try:
            for step in self._steps:
                if self._unbounded:
                    step.begin_piece()
                data = step.feed(data)
        except zlib.error as error:
            raise ProtocolError(f"the answer's compressed data is damaged: {error}") from error
        return data

    def finish(self) -> None:
        """The body is over."""
        if not all(step.is_whole for step in self._steps):
            raise IncompleteReply("the answer's compressed data ends too early")


class _Inflater:
    """zlib's, with a limit on all that it yields."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def begin_piece(self) -> None:
        self._left = self._limit

    def inflate(self, inflater: zlib._Decompress, data: bytes) -> bytes:
        result = inflater.decompress(data, self._left + 1)
        self._left -= len(result)
        if self._left < 0:
            raise ReplyTooLarge(f"the answer, decompressed, is over max_response_bytes={self._limit}")
        return result


class _Gzip(_Inflater):
    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._inflater = _new_gzip()
        self._members = 1
        self._begun = False
        self._behind: bytes | None = b""
        """What follows a member, as long as it may begin another one (RFC 1952, 2.2); None: it does not."""

    @property
    def is_whole(self) -> bool:
        return self._inflater.eof or not self._begun

    def feed(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        while data:
            if self._inflater.eof and not (data := self._next_member(data)):
                break
            self._begun = True
            parts.append(self.inflate(self._inflater, data))
            data = self._inflater.unused_data
        return b"".join(parts)

    def _next_member(self, data: bytes) -> bytes:
        """Begin another member where these bytes do; what is not one is ignored, as gzip's own tool does."""
        if self._behind is None:
            return b""
        data = self._behind + data
        if not data.startswith(_GZIP_MAGIC[: len(data)]):
            self._behind = None
            return b""
        if len(data) < len(_GZIP_MAGIC):
            self._behind = data
            return b""
        if self._members == _MAX_MEMBERS:
            raise ProtocolError(f"the answer's gzip data has over {_MAX_MEMBERS} members")
        self._inflater, self._behind = _new_gzip(), b""
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
            # RFC 9110 means zlib's format; some servers send raw deflate under the same name.
            raw = data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
        return b"" if self._inflater.eof else self.inflate(self._inflater, data)


def _new_gzip() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
