"""Content encodings, undone within a limit: a few kilobytes of gzip can hold gigabytes."""

from __future__ import annotations

import zlib

from headrace.errors import IncompleteReply, ProtocolError, ReplyTooLarge

_GZIP = 16 + zlib.MAX_WBITS
_MAX_ENCODINGS = 3
_MAX_MEMBERS = 100
"""Of gzip; servers write one. Each costs a copy of what follows it, and an empty one has 20 bytes."""


def decompressed(content: bytes, encodings: str, limit: int) -> bytes:
    """Undo ``encodings`` (the value of content-encoding, applied in the order listed).

    No step yields more than ``limit`` bytes. Raises `ReplyTooLarge` over it, `IncompleteReply` for data
    cut short, `ProtocolError` for damaged data and for encodings that were not offered.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    if len(names) > _MAX_ENCODINGS:
        raise ProtocolError(f"the answer has {len(names)} content encodings, one on the other")
    for name in reversed(names):
        if name in {"", "identity"}:
            continue
        try:
            if name in {"gzip", "x-gzip"}:
                content = _gzip(content, limit)
            elif name == "deflate":
                content = _deflate(content, limit)
            else:
                raise ProtocolError(f"content-encoding {name!r} was not asked for")
        except zlib.error as error:
            raise ProtocolError(f"the answer's {name} data is damaged: {error}") from error
    return content


def _gzip(content: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while content or not parts:  # RFC 1952: a file may have several members
        part, content = _inflate(content, _GZIP, left)
        parts.append(part)
        left -= len(part)
        if len(parts) == _MAX_MEMBERS and content:
            raise ProtocolError(f"the answer's gzip data has over {_MAX_MEMBERS} members")
    return b"".join(parts)


def _deflate(content: bytes, limit: int) -> bytes:
    # RFC 9110 means zlib's format; some servers send raw deflate under the same name.
    raw = len(content) < 2 or content[0] & 0x0F != 8 or (content[0] << 8 | content[1]) % 31
    return _inflate(content, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS, limit)[0]


def _inflate(content: bytes, bits: int, limit: int) -> tuple[bytes, bytes]:
    inflater = zlib.decompressobj(bits)
    result = inflater.decompress(content, limit + 1)
    if len(result) > limit:
        raise ReplyTooLarge(f"the answer, decompressed, is over max_response_bytes ({limit} left)")
    if not inflater.eof:
        raise IncompleteReply("the answer's compressed data ends too early")
    return result, inflater.unused_data
