"""Small files of many types, written by the libraries that users have."""

from __future__ import annotations

import io
import wave
import zipfile
from typing import Any

from PIL import Image


def image_file(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: Any) -> bytes:
    """An image in a format of Pillow."""
    written = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(written, kind, **options)
    return written.getvalue()


def wav_file(seconds: float = 0.5, rate: int = 8000) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(bytes(2 * int(seconds * rate)))
    return written.getvalue()


def office_file(part: str) -> bytes:
    """A ZIP archive with the parts of an Office document."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>" * 100)
        archive.writestr(part, "<x/>" * 100)
    return written.getvalue()


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog>>\nendobj\n"
MP3 = b"\xff\xfb\x90\x64" + bytes(413)
TAGGED_MP3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + MP3
FLAC = b"fLaC\x80\0\0\x22" + bytes(34)
OGG = b"OggS\0\x02" + bytes(8) + b"\x01\0\0\0" + bytes(8) + b"\x01\x13OpusHead"
M4A = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0"
AAC = b"\xff\xf1\x50\x80\x02\x1f\xfc"
AIFF = b"FORM\0\0\0\x2eAIFFCOMM"
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
