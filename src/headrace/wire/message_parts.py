"""Parts of a message: images, files and audio, in the form of the Chat Completions API.

A part is a mapping, like a part written by hand. It reads its file when the request is encoded, that is when
the call begins, so requests that wait in a list or behind a map hold no content.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from headrace.errors import RequestError
from headrace.wire.image_resizing import import_pillow, scale_down
from headrace.wire.media_source import (
    Source,
    check_path,
    check_size,
    check_source,
    described,
    is_url,
    read_source,
)
from headrace.wire.media_types import MediaType, sniff_media_type
from headrace.wire.message_part import MessagePart

ImageDetail: TypeAlias = Literal["auto", "low", "high", "original"]

_DETAILS = ("auto", "low", "high", "original")

MAX_BYTES = 20 * 1024 * 1024
"""Default maximum size of a part, in bytes. Base64 makes it a third larger; most endpoints take that."""


class SourcePart(MessagePart):
    """A part with the content of a file."""

    __slots__ = ("max_bytes", "source")

    function: ClassVar[str]
    """The public function that makes it."""

    def __init__(self, source: Source, max_bytes: int) -> None:
        self.source: Source = source
        self.max_bytes: int = max_bytes

    def __repr__(self) -> str:
        return f"<{described(self.function, self.source)}>"

    def check_file(self) -> None:
        """Raise `RequestError` for a file that is missing or too large; it is not read."""
        check_path(self.function, self.source, self.max_bytes)

    def _media_type(self, content: bytes, *kinds: str) -> MediaType:
        """The type of the content; raises `RequestError` unless it is one of these kinds."""
        found = sniff_media_type(content)
        what = described(self.function, self.source)
        if found is None:
            raise RequestError(f"{what} is of no known type, judged by its content; convert it to one")
        if kinds and found.kind not in kinds:
            fitting = found.kind if found.kind in {"image", "audio"} else "file"
            raise RequestError(f"{what} is {found.name}, judged by its content; use headrace.{fitting}")
        return found


class ImagePart(SourcePart):
    """An image; see `image`."""

    __slots__ = ("detail", "max_pixels")

    type = "image_url"
    function = "image"

    def __init__(
        self, source: Source, max_bytes: int, detail: ImageDetail | None, max_pixels: int | None
    ) -> None:
        super().__init__(source, max_bytes)
        self.detail: ImageDetail | None = detail
        self.max_pixels: int | None = max_pixels

    def check_file(self) -> None:
        check_path(self.function, self.source, self.max_bytes if self.max_pixels is None else None)

    def _content(self) -> dict[str, str]:
        url = str(self.source) if is_url(self.source) else self._data_url()
        return {"url": url} if self.detail is None else {"url": url, "detail": self.detail}

    def _data_url(self) -> str:
        if self.max_pixels is None:
            content = read_source(self.function, self.source, self.max_bytes)
            return _data_url(self._media_type(content, "image"), content)
        content = read_source(self.function, self.source, None)
        self._media_type(content, "image")
        content = scale_down(described(self.function, self.source), content, self.max_pixels)
        check_size(self.function, self.source, len(content), self.max_bytes)
        return _data_url(self._media_type(content, "image"), content)


class FilePart(SourcePart):
    """A file; see `file`."""

    __slots__ = ("filename",)

    type = "file"
    function = "file"

    def __init__(self, source: Source, max_bytes: int, filename: str | None) -> None:
        super().__init__(source, max_bytes)
        self.filename: str | None = filename

    def _content(self) -> dict[str, str]:
        content = read_source(self.function, self.source, self.max_bytes)
        found = self._media_type(content)
        return {
            "filename": self.filename or _base_name(self.source) or f"file.{found.suffix}",
            "file_data": _data_url(found, content),
        }


class AudioPart(SourcePart):
    """Audio; see `audio`."""

    __slots__ = ()

    type = "input_audio"
    function = "audio"

    def _content(self) -> dict[str, str]:
        content = read_source(self.function, self.source, self.max_bytes)
        found = self._media_type(content, "audio")
        return {"data": base64.b64encode(content).decode(), "format": found.suffix}


def image(
    source: Source,
    *,
    detail: ImageDetail | None = None,
    max_pixels: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Mapping[str, Any]:
    """Make a part of a message of an image.

    The file is read when the call begins, in the thread of the event loop, and again if a policy changes the
    request. So a million requests in a list hold a million paths, and no content. An error of the file is an
    error of its call.

    Args:
        source: A path, bytes, a data URI, or an http or https URL, which the endpoint fetches. The type is
            found by the content: PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF or HEIC. OpenAI takes the first four.
        detail: How closely the model looks: "low", "high", "auto" or "original" (default: not sent).
        max_pixels: Scale a larger image down to this many pixels (width × height). The format is kept for
            PNG, JPEG and WebP; others become PNG. Needs ``pip install 'headrace[images]'``.
        max_bytes: Maximum size of what is sent, before base64 (default 20 MiB).

    Returns:
        The part ``{"type": "image_url", "image_url": {"url": …}}``. ``dict(part)`` makes a plain one, for
        other SDKs.

    Raises:
        RequestError: An argument is not valid. The call raises it for an image that cannot be read, is of no
            known type, or is too large.

    Example:
        ```python
        question = {"type": "text", "text": "Which plant is this?"}
        content = [question, headrace.image("rose.jpg", detail="low", max_pixels=500_000)]
        reply = await client.chat([{"role": "user", "content": content}])
        ```
    """
    check_source("image", source)
    if detail not in {None, *_DETAILS}:
        raise RequestError(f"detail={detail!r}: must be one of {', '.join(_DETAILS)}")
    _check_count("max_bytes", max_bytes)
    if max_pixels is not None:
        _check_count("max_pixels", max_pixels)
        if is_url(source):
            raise RequestError("max_pixels= has no effect on a URL, which the endpoint fetches; omit it")
        import_pillow()
    return ImagePart(source, max_bytes, detail, max_pixels)


def file(source: Source, *, filename: str | None = None, max_bytes: int = MAX_BYTES) -> Mapping[str, Any]:
    """Make a part of a message of a file, such as a PDF.

    It is read when the call begins, as by `image`.

    Args:
        source: A path, bytes or a data URI. The type is found by the content: PDF, Word, Excel, PowerPoint,
            text in UTF-8, or an image or audio of a known type.
        filename: The name that the model sees (default: the name in the path, or ``file`` with the suffix of
            the type).
        max_bytes: Maximum size, before base64 (default 20 MiB).

    Returns:
        The part ``{"type": "file", "file": {"filename": …, "file_data": …}}``.

    Raises:
        RequestError: As for `image`.

    Example:
        ```python
        content = [{"type": "text", "text": "What is the total?"}, headrace.file("invoice.pdf")]
        reply = await client.chat([{"role": "user", "content": content}])
        ```
    """
    _check_content_source("file", source)
    _check_count("max_bytes", max_bytes)
    return FilePart(source, max_bytes, filename)


def audio(source: Source, *, max_bytes: int = MAX_BYTES) -> Mapping[str, Any]:
    """Make a part of a message of a recording.

    It is read when the call begins, as by `image`.

    Args:
        source: A path, bytes or a data URI. The format is found by the content: ``wav``, ``mp3``, ``flac``,
            ``ogg``, ``m4a``, ``aac``, ``aiff`` or ``webm``. OpenAI takes the first two.
        max_bytes: Maximum size, before base64 (default 20 MiB).

    Returns:
        The part ``{"type": "input_audio", "input_audio": {"data": …, "format": …}}``.

    Raises:
        RequestError: As for `image`.

    Example:
        ```python
        content = [{"type": "text", "text": "What does she say?"}, headrace.audio("call.mp3")]
        reply = await client.chat([{"role": "user", "content": content}])
        ```
    """
    _check_content_source("audio", source)
    _check_count("max_bytes", max_bytes)
    return AudioPart(source, max_bytes)


def _check_content_source(function: str, source: Source) -> None:
    check_source(function, source)
    if is_url(source):
        raise RequestError(
            f"{described(function, source)}: endpoints fetch only images; download it, and pass its path"
        )


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise RequestError(f"{name}={value!r}: must be an integer of at least 1")


def _base_name(source: Source) -> str:
    """The name of the file; "" for bytes and data URIs."""
    if isinstance(source, bytes) or (isinstance(source, str) and source[:5].lower() == "data:"):
        return ""
    return os.path.basename(source)


def _data_url(found: MediaType, content: bytes) -> str:
    return f"data:{found.name};base64,{base64.b64encode(content).decode()}"
