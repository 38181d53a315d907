"""Recognises the type of a file by its content: images, audio, documents and text.

The name of a file is not used: names are often wrong or missing, and an endpoint checks the content.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class MediaType:
    """A type of content.

    Attributes:
        name: The name in MIME, like ``image/png``.
        suffix: The usual end of a file's name. For audio it is also the API's name of the format.
    """

    name: str
    suffix: str

    @property
    def kind(self) -> str:
        """The first part of the name: "image", "audio", "text" or "application"."""
        return self.name.partition("/")[0]


def _office(kind: str, suffix: str) -> MediaType:
    return MediaType(f"application/vnd.openxmlformats-officedocument.{kind}", suffix)


PDF = MediaType("application/pdf", "pdf")
TEXT = MediaType("text/plain", "txt")
_M4A = MediaType("audio/mp4", "m4a")
_AVIF, _HEIC = MediaType("image/avif", "avif"), MediaType("image/heic", "heic")
_FLAC = MediaType("audio/flac", "flac")
_MP3, _AAC = MediaType("audio/mpeg", "mp3"), MediaType("audio/aac", "aac")

_MAGIC: tuple[tuple[int, bytes, MediaType], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", MediaType("image/png", "png")),
    (0, b"\xff\xd8\xff", MediaType("image/jpeg", "jpg")),
    (0, b"GIF87a", MediaType("image/gif", "gif")),
    (0, b"GIF89a", MediaType("image/gif", "gif")),
    (0, b"II*\0", MediaType("image/tiff", "tiff")),
    (0, b"MM\0*", MediaType("image/tiff", "tiff")),
    (8, b"WEBP", MediaType("image/webp", "webp")),
    (8, b"WAVE", MediaType("audio/wav", "wav")),
    (8, b"AIFF", MediaType("audio/aiff", "aiff")),
    (0, b"ID3\x02", _MP3),
    (0, b"ID3\x03", _MP3),
    (0, b"ID3\x04", _MP3),
    (0, b"fLaC\x00", _FLAC),
    (0, b"fLaC\x80", _FLAC),
    (0, b"OggS\x00", MediaType("audio/ogg", "ogg")),
    (0, b"\x1aE\xdf\xa3", MediaType("audio/webm", "webm")),
)
"""Where the first bytes of a type are, and which. Types of one container differ at byte 8."""

_CONTAINERS = {b"WEBP": (b"RIFF",), b"WAVE": (b"RIFF", b"RF64"), b"AIFF": (b"FORM",)}

_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIC),
    **dict.fromkeys((b"M4A ", b"M4B "), _M4A),
}
"""Brands of ISO media files, from the box ``ftyp``."""

_OFFICE = {
    b"word/document.xml": _office("wordprocessingml.document", "docx"),
    b"xl/workbook.xml": _office("spreadsheetml.sheet", "xlsx"),
    b"ppt/presentation.xml": _office("presentationml.presentation", "pptx"),
}
"""Names of the main part in a ZIP archive, which are not compressed."""

_PDF_HEADER_WITHIN = 1024
"""Readers of PDF accept other bytes before its header, up to this position."""

_NOT_IN_TEXT = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
"""Control characters that no text has."""


def sniff_media_type(content: bytes) -> MediaType | None:
    """The type of a file; None if its content is of no known type."""
    for offset, magic, found in _MAGIC:
        if content.startswith(magic, offset) and (
            magic not in _CONTAINERS or content.startswith(_CONTAINERS[magic])
        ):
            return found
    if content.startswith(b"ftyp", 4):
        return _BRANDS.get(content[8:12])
    # The two bytes "BM" may also begin a text; the reserved bytes of a bitmap are zero.
    if content.startswith(b"BM") and content[6:10] == bytes(4):
        return MediaType("image/bmp", "bmp")
    if content[:1] == b"\xff" and len(content) > 1:
        return _mpeg_audio(content[1])
    if content.startswith(b"PK\x03\x04"):
        return next((found for name, found in _OFFICE.items() if name in content), None)
    if content.startswith(b"%PDF-"):
        return PDF
    if _is_text(content):
        return TEXT
    return PDF if content.find(b"%PDF-", 0, _PDF_HEADER_WITHIN) >= 0 else None


def _mpeg_audio(second: int) -> MediaType | None:
    """The type of an MPEG audio frame by the second byte of its header: sync, version and layer."""
    if second & 0xF6 == 0xF0:
        return _AAC
    return _MP3 if second & 0xE6 == 0xE2 else None


def _is_text(content: bytes) -> bool:
    if not content or len(content.translate(None, _NOT_IN_TEXT)) < len(content):
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
