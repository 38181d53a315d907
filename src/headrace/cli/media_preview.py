"""Images, files and audio of a request in short, for `headrace run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace._support.text import shortened
from headrace.bulk.prompts.media_columns import CellPart
from headrace.wire.request_bodies import encode_json

_KINDS = {"image_url": "image", "file": "file", "input_audio": "audio"}
"""The types of parts with media, in words."""


def content_text(content: Any) -> str:
    """The content of a message: its text, and each part of media in short, on a line of its own.

    Raises:
        InputError: The file of a part cannot be read.
    """
    if not isinstance(content, list):
        return content if isinstance(content, str) else encode_json(content).decode()
    return "\n".join(_part_text(part) for part in content)


def check_files(body: Mapping[str, Any]) -> None:
    """Raise `InputError` for a file that is missing or too large; no file is read."""
    for part in _parts(body):
        if isinstance(part, CellPart):
            part.check_file()


def without_media(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body without its images, files and audio, whose tokens are not known from their size."""
    if not any(_is_media(part) for part in _parts(body)):
        return body
    return {**body, "messages": [_without_media(message) for message in body["messages"]]}


def _without_media(message: Any) -> Any:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [part for part in message["content"] if not _is_media(part)]}


def _parts(body: Mapping[str, Any]) -> Iterator[Any]:
    """The parts of all messages."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list):
            yield from content


def _is_media(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and kind in _KINDS


def _part_text(part: Any) -> str:
    if isinstance(part, Mapping) and part.keys() == {"type", "text"} and isinstance(part["text"], str):
        return part["text"]
    if not _is_media(part):
        return encode_json(part).decode()
    kind, member = part["type"], part.get(part["type"])
    if not isinstance(member, Mapping):
        return encode_json(part).decode()
    words: list[str] = []
    for name, value in member.items():
        if name in ("data", "file_data") or (name == "url" and str(value)[:5].lower() == "data:"):
            head, _, data = str(value).rpartition(",")
            words += [head[5:].partition(";")[0]] if head else []
            words.append(f"{_decoded_size(data):,} bytes")
        elif isinstance(value, str):
            words.append(shortened(value))
    return f"[{_KINDS[kind]}: {', '.join(words)}]"


def _decoded_size(data: str) -> int:
    """The size of what base64 stands for, in bytes."""
    return len(data) * 3 // 4 - data[-2:].count("=")
