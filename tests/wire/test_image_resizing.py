"""Images are scaled down to a number of pixels: their size, format and orientation, and what is refused."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.wire.media_files import HEIC, PDF, image_file

from headrace import RequestError
from headrace.wire.image_resizing import scale_down, scaled_size


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 10**7))
def test_a_scaled_size_has_at_most_the_pixels_and_about_the_ratio(width: int, height: int, most: int) -> None:
    across, down = scaled_size(width, height, most)
    assert 1 <= across <= width
    assert 1 <= down <= height
    assert across * down <= most
    if width * height <= most:
        assert (across, down) == (width, height)
    elif min(across, down) > 1:
        assert (across + 1) * (down + 1) > most
        assert across * height < (down + 1) * width
        assert down * width < (across + 1) * height


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("kind", "mode", "becomes"),
    [
        *(("PNG", "RGB", "PNG"), ("PNG", "RGBA", "PNG"), ("PNG", "P", "PNG"), ("PNG", "1", "PNG")),
        *(("JPEG", "RGB", "JPEG"), ("JPEG", "L", "JPEG"), ("JPEG", "CMYK", "JPEG")),
        *(("WEBP", "RGB", "WEBP"), ("WEBP", "RGBA", "WEBP")),
        *(("GIF", "P", "PNG"), ("BMP", "RGB", "PNG"), ("TIFF", "CMYK", "PNG")),
    ],
)
def test_a_scaled_image_keeps_its_format_if_possible(kind: str, mode: str, becomes: str) -> None:
    content = image_file(kind, (400, 300), mode)
    scaled = opened(scale_down("image", content, 1200))
    assert (scaled.format, scaled.size) == (becomes, (40, 30))
    assert scale_down("image", content, 400 * 300) is content


def test_transparency_and_brightness_are_kept() -> None:
    image = Image.new("RGBA", (100, 100), (200, 10, 10, 0))
    image.paste((200, 10, 10, 255), (50, 0, 100, 100))
    written = io.BytesIO()
    image.save(written, "PNG")
    scaled = opened(scale_down("image", written.getvalue(), 100))
    assert scaled.getchannel("A").getpixel((1, 5)) == 0
    assert scaled.getpixel((8, 5)) == (200, 10, 10, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_scaled_image_is_turned_as_its_exif_data_say(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    upright = Image.linear_gradient("L").resize((300, 400))  # dark above, bright below
    written = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).convert("RGB").save(written, kind, exif=exif)
    scaled = opened(scale_down("image", written.getvalue(), 1200)).convert("L")
    assert scaled.size == (30, 40)
    assert scaled.getexif().get(0x0112, 1) == 1
    assert scaled.getpixel((15, 2)) < 40 < 215 < scaled.getpixel((15, 37))  # type: ignore[operator]


@pytest.mark.parametrize("content", [HEIC, PDF, image_file("PNG")[:60], image_file("JPEG")[:200]])
def test_what_pillow_cannot_read_is_one_line(content: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        scale_down("image 'x'", content, 10)
    message = str(caught.value)
    assert message.startswith("image 'x' cannot be scaled down: ")
    assert message.endswith("; omit max_pixels=")
    assert "\n" not in message
    assert "object at" not in message


def test_an_extreme_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(
        RequestError, match=r"cannot be scaled down: Image size \(1200 pixels\) exceeds limit"
    ):
        scale_down("image 'x'", image_file("PNG"), 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a warning of Pillow, not an error
    assert opened(scale_down("image 'x'", image_file("PNG"), 12)).size == (4, 3)


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = image_file("PNG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RequestError, match=r"^max_pixels= needs Pillow; pip install 'headrace\[images\]'$"):
        scale_down("image 'x'", content, 10)
