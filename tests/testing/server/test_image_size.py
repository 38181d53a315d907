"""The size of an image is read from its header, as Pillow reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.media_files import PDF, image_file

from headrace.testing.server.image_size import image_size

SIDES = st.integers(1, 300)


@given(
    kind=st.sampled_from(["PNG", "GIF", "JPEG", "WEBP"]),
    size=st.tuples(SIDES, SIDES),
    mode=st.sampled_from(["RGB", "L"]),
    lossless=st.booleans(),
)
def test_the_size_of_any_image_is_read(kind: str, size: tuple[int, int], mode: str, lossless: bool) -> None:
    options = {"WEBP": {"lossless": lossless}, "JPEG": {"progressive": lossless}}.get(kind, {})
    assert image_size(image_file(kind, size, mode, **options)) == size


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_size_is_found_after_metadata(kind: str) -> None:
    content = image_file(kind, (70, 50), exif=b"Exif\0\0" + bytes(20_000), icc_profile=bytes(70_000))
    assert image_size(content) == (70, 50)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "WEBP"])
def test_a_file_that_ends_within_its_header_has_no_size(kind: str) -> None:
    content = image_file(kind)
    sizes = [image_size(content[:length]) for length in range(len(content))]
    assert sizes[0] is None
    assert set(sizes) <= {None, (40, 30)}


@pytest.mark.parametrize(
    "content", [b"", PDF, image_file("BMP"), b"\xff\xd8\xff\xe0\0\0" * 9, b"GIF89a" + bytes(9)]
)
def test_other_files_have_no_size(content: bytes) -> None:
    assert image_size(content) is None
