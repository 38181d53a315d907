"""The messages of a chat and their parts, as the API defines them. Parsing rejects parts of another shape."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import msgspec


class _Part(msgspec.Struct, frozen=True, tag_field="type"):
    """A part of a message; its type decides which members it has."""


class TextPart(_Part, frozen=True, tag="text"):
    """Text."""

    text: str


class RefusalPart(_Part, frozen=True, tag="refusal"):
    """An earlier refusal of the model."""

    refusal: str


class ThinkingPart(_Part, frozen=True, tag="thinking"):
    """Earlier thinking of the model, from the quirk ``thinking-parts``; not read."""


class ImageUrl(msgspec.Struct, frozen=True):
    """Where an image is, and how closely the model looks."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Part, frozen=True, tag="image_url"):
    """An image."""

    image_url: ImageUrl


class InputAudio(msgspec.Struct, frozen=True):
    """A recording in base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(_Part, frozen=True, tag="input_audio"):
    """A recording."""

    input_audio: InputAudio


class FileData(msgspec.Struct, frozen=True):
    """A file as a data URL, or the id of an uploaded one."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(_Part, frozen=True, tag="file"):
    """A file."""

    file: FileData


ContentPart: TypeAlias = TextPart | RefusalPart | ThinkingPart | ImagePart | AudioPart | FilePart


@attrs.frozen
class Message:
    """One message of the conversation."""

    role: str
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """The text of the message, from all its parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if isinstance(part, TextPart))
