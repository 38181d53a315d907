"""Reads the width and height of an image from its header."""

from __future__ import annotations

import struct


def image_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG, GIF or WebP; None for another or an incomplete file."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            size = struct.unpack_from(">II", content, 16)
        elif content.startswith((b"GIF87a", b"GIF89a")):
            size = struct.unpack_from("<HH", content, 6)
        elif content.startswith(b"\xff\xd8"):
            size = _jpeg_size(content)
        elif content.startswith(b"RIFF") and content.startswith(b"WEBP", 8):
            size = _webp_size(content)
        else:
            return None
    except (struct.error, IndexError):
        return None
    width, height = size
    return (width, height) if width and height else None


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """The size in the frame header, which comes after segments of any number and length."""
    at = 2
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", content, at + 2)
            at += 2 + length
    return 0, 0


def _webp_size(content: bytes) -> tuple[int, int]:
    """The size in the first chunk: lossy, lossless or extended."""
    chunk = content[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        low_width, low_height = struct.unpack_from("<HxH", content, 24)
        return low_width + (content[26] << 16) + 1, low_height + (content[29] << 16) + 1
    return 0, 0
