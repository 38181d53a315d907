"""The type of a file is found by its content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import media_files as files

from headrace.wire.media_types import sniff_media_type

OFFICE = "application/vnd.openxmlformats-officedocument"


@pytest.mark.parametrize(
    ("content", "name", "suffix"),
    [
        (files.image_file("PNG"), "image/png", "png"),
        (files.image_file("JPEG"), "image/jpeg", "jpg"),
        (files.image_file("GIF"), "image/gif", "gif"),
        (files.image_file("WEBP"), "image/webp", "webp"),
        (files.image_file("WEBP", lossless=True), "image/webp", "webp"),
        (files.image_file("TIFF"), "image/tiff", "tiff"),
        (files.image_file("BMP"), "image/bmp", "bmp"),
        (files.HEIC, "image/heic", "heic"),
        (files.wav_file(), "audio/wav", "wav"),
        (files.MP3, "audio/mpeg", "mp3"),
        (files.TAGGED_MP3, "audio/mpeg", "mp3"),
        (files.FLAC, "audio/flac", "flac"),
        (files.OGG, "audio/ogg", "ogg"),
        (files.M4A, "audio/mp4", "m4a"),
        (files.AAC, "audio/aac", "aac"),
        (files.AIFF, "audio/aiff", "aiff"),
        (files.WEBM, "audio/webm", "webm"),
        (files.PDF, "application/pdf", "pdf"),
        (b"\0junk\xff" + files.PDF, "application/pdf", "pdf"),
        (files.office_file("word/document.xml"), f"{OFFICE}.wordprocessingml.document", "docx"),
        (files.office_file("xl/workbook.xml"), f"{OFFICE}.spreadsheetml.sheet", "xlsx"),
        (files.office_file("ppt/presentation.xml"), f"{OFFICE}.presentationml.presentation", "pptx"),
        (b"id;name\n1;B\xc3\xa4r\n", "text/plain", "txt"),
        (b"BMW and %PDF- and ID3 tags", "text/plain", "txt"),
    ],
)
def test_known_types(content: bytes, name: str, suffix: str) -> None:
    found = sniff_media_type(content)
    assert found is not None
    assert (found.name, found.suffix, found.kind) == (name, suffix, name.split("/")[0])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0", b"\xff", b"\xff\xfe\x41\0"),
        *(b"RIFF\0\0\0\0AVI LIST", b"XXXX\0\0\0\0WEBP", b"XXXX\0\0\0\0WAVE"),
        *(files.VIDEO, files.office_file("mimetype"), b"\x7fELF\x02\x01", b"caf\xe9"),
    ],
)
def test_unknown_types(content: bytes) -> None:
    assert sniff_media_type(content) is None


@given(st.binary())
def test_no_content_raises_an_error(content: bytes) -> None:
    found = sniff_media_type(content)
    assert found is None or found.name


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1))
def test_text_in_utf_8_is_text(text: str) -> None:
    found = sniff_media_type(text.encode())
    assert found is not None
    assert found.name == "text/plain"
