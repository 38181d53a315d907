"""Scales images down with Pillow, which is imported when it is first needed."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

from headrace.errors import RequestError

_KEPT: dict[str, dict[str, int]] = {"PNG": {}, "JPEG": {"quality": 90}, "WEBP": {"quality": 90}}
"""Formats that a scaled image keeps, with Pillow's options. Any other one becomes PNG."""


_SCALABLE = {"L", "LA", "RGB", "RGBA"}
"""Modes that all these formats can hold and that can be interpolated; a palette cannot."""


def import_pillow() -> Any:
    """Pillow's module ``PIL.Image``; raises `RequestError` if it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise RequestError("max_pixels= needs Pillow; pip install 'headrace[images]'") from None
    return Image


def scaled_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The size with about the same ratio that has at most ``max_pixels`` pixels, and is not larger."""
    if width * height <= max_pixels:
        return width, height
    # A side of less than one pixel becomes one, and then the other side must be shortened.
    small, large = sorted((width, height))
    shorter = max(1, math.isqrt(max_pixels * small // large))
    longer = min(math.isqrt(max_pixels * large // small), max_pixels // shorter)
    return (shorter, longer) if width <= height else (longer, shorter)


def scale_down(what: str, content: bytes, max_pixels: int) -> bytes:
    """Return an image with at most ``max_pixels`` pixels; the same bytes if it is small enough.

    A scaled image is turned as its EXIF data say, because these are not kept. Of an animation, only the first
    frame is kept.

    Args:
        what: The image, for messages.
        content: The file.
        max_pixels: Maximum of width × height.

    Raises:
        RequestError: Pillow is missing, or cannot read the image.
    """
    Image = import_pillow()
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of a large image, whose size is known to be wanted; there is an error for an extreme one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height <= max_pixels:
                    return content
                return _scaled(Image, ImageOps, image, max_pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # The message of this one shows the address of an object.
        reason = "Pillow does not read it" if isinstance(error, UnidentifiedImageError) else error
        raise RequestError(f"{what} cannot be scaled down: {reason}; omit max_pixels=") from error


def _scaled(Image: Any, ImageOps: Any, image: Any, max_pixels: int) -> bytes:
    kept = image.format if image.format in _KEPT else "PNG"
    profile = image.info.get("icc_profile")
    size = scaled_size(image.width, image.height, max_pixels)
    image.draft(None, size)  # a large JPEG is decoded at a fraction of its size
    turned = ImageOps.exif_transpose(image)
    if turned.size != image.size:
        size = size[::-1]
    if turned.mode not in _SCALABLE:
        turned, profile = turned.convert("RGBA" if turned.has_transparency_data else "RGB"), None
    scaled = turned.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    written = io.BytesIO()
    scaled.save(written, kept, icc_profile=profile, **_KEPT[kept])
    return written.getvalue()
