"""Counts the tokens of images, audio and files in a chat, and rejects those that the API rejects.

The rules are simple, so that a user can check them:

- An image has 85 tokens, and 170 more for each tile of 512 × 512 pixels, unless its detail is low. Before, it
  is scaled down to fit in 2048 × 2048 pixels and to 768 pixels on its shorter side. This is OpenAI's rule of
  the model gpt-4o. An image behind a URL is not fetched and counts as one of 1024 × 1024 pixels.
- Audio has 10 tokens for each second. MP3 counts as 128 kbit/s.
- A text file has the tokens of its text, any other file one token for 32 bytes, and an uploaded file none.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Sequence

import attrs

from headrace.testing.server.image_size import image_size
from headrace.testing.server.messages import (
    AudioPart,
    FileData,
    FilePart,
    ImagePart,
    ImageUrl,
    InputAudio,
    Message,
)
from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.tokenizer import count_tokens
from headrace.wire.media_types import TEXT, sniff_media_type

_BASE, _PER_TILE, _TILE = 85, 170, 512
_FITS, _SHORTER_SIDE = 2048, 768
_SIZE_BEHIND_URL = (1024, 1024)
_AUDIO_TOKENS_PER_SECOND = 10
_MP3_BYTES_PER_SECOND = 16_000
_FILE_BYTES_PER_TOKEN = 32
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w-]+=[\w.-]+)*;base64,", re.ASCII)


@attrs.frozen
class MediaTokens:
    """The tokens of the parts of a chat that are not text.

    Attributes:
        total: All tokens.
        audio: Those of audio.
    """

    total: int = 0
    audio: int = 0


def count_media_tokens(messages: Sequence[Message]) -> MediaTokens:
    """The tokens of all images, audio and files.

    Raises:
        RejectedRequest: One of them is not valid. Status 400; `param` is its field.
    """
    total = audio = 0
    for index, message in enumerate(messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            where = f"messages[{index}].content[{number}]"
            if isinstance(part, ImagePart):
                total += _image_tokens(part.image_url, f"{where}.image_url")
            elif isinstance(part, FilePart):
                total += _file_tokens(part.file, f"{where}.file")
            elif isinstance(part, AudioPart):
                audio += _audio_tokens(part.input_audio, f"{where}.input_audio")
    return MediaTokens(total + audio, audio)


def _image_tokens(image: ImageUrl, where: str) -> int:
    if image.url.lower().startswith(("http://", "https://")):
        size: tuple[int, int] | None = _SIZE_BEHIND_URL
    else:
        content = _decode_data_url(image.url, f"{where}.url")
        found = sniff_media_type(content)
        size = image_size(content) if found is not None and found.name in _IMAGE_TYPES else None
    if size is None:
        raise RejectedRequest(
            400,
            "You uploaded an unsupported image. Please make sure your image is valid and has one of the "
            "following formats: ['png', 'jpeg', 'gif', 'webp'].",
            param=f"{where}.url",
            code="invalid_image_format",
        )
    return _BASE if image.detail == "low" else _BASE + _PER_TILE * _tiles(*size)


def _tiles(width: int, height: int) -> int:
    """How many tiles cover an image after it is scaled down."""
    scale = min(1.0, _FITS / max(width, height), _SHORTER_SIDE / min(width, height))
    across, down = (max(1, math.ceil(round(side * scale) / _TILE)) for side in (width, height))
    return across * down


def _audio_tokens(audio: InputAudio, where: str) -> int:
    content = _decode_base64(audio.data, f"{where}.data")
    found = sniff_media_type(content)
    rate = _MP3_BYTES_PER_SECOND if audio.format == "mp3" else _wav_bytes_per_second(content)
    if found is None or found.suffix != audio.format or not rate:
        raise RejectedRequest(
            400,
            f"The data provided for 'input_audio' is not of valid {audio.format} format.",
            param=f"{where}.data",
            code="invalid_value",
        )
    return math.ceil(len(content) / rate * _AUDIO_TOKENS_PER_SECOND)


def _wav_bytes_per_second(content: bytes) -> int:
    """The rate in a WAV header; 0 for an incomplete one."""
    return int(struct.unpack_from("<I", content, 28)[0]) if len(content) >= 32 else 0


def _file_tokens(file: FileData, where: str) -> int:
    if file.file_data is None:
        if file.file_id is not None:
            return 0
        message = f"Missing required parameter: '{where}.file_data'."
        raise RejectedRequest(400, message, param=f"{where}.file_data", code="missing_required_parameter")
    content = _decode_data_url(file.file_data, f"{where}.file_data")
    found = sniff_media_type(content)
    if found is None:
        message = f"Invalid '{where}.file_data'. The type of the file is not supported."
        raise RejectedRequest(400, message, param=f"{where}.file_data", code="invalid_value")
    return (
        count_tokens(content.decode()) if found == TEXT else math.ceil(len(content) / _FILE_BYTES_PER_TOKEN)
    )


def _decode_data_url(url: str, where: str) -> bytes:
    head = _DATA_URL.match(url)
    if head is None:
        message = f"Invalid '{where}'. Expected a base64-encoded data URL or a valid URL."
        raise RejectedRequest(400, message, param=where, code="invalid_value")
    return _decode_base64(url[head.end() :], where)


def _decode_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RejectedRequest(
            400, f"Invalid base64 in '{where}'.", param=where, code="invalid_base64"
        ) from None
