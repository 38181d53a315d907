"""Bodies that are already JSON, as in the lines of OpenAI's batch format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.calls import Request


class BodyFields(msgspec.Struct):
    """The fields of a body that headrace reads before it sends the body."""

    model: str | None = None
    stream: bool | None = None


class _BatchLine(msgspec.Struct):
    url: str
    body: msgspec.Raw
    custom_id: str | None = None
    method: str = "POST"


_decode_fields = msgspec.json.Decoder(BodyFields).decode
_decode_line = msgspec.json.Decoder(_BatchLine).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class EncodedBody(Mapping[str, Any]):
    """A body that is already JSON.

    It is sent unchanged, and decoded only when a key other than those of ``fields`` is read.

    Args:
        content: A JSON object.

    Raises:
        msgspec.DecodeError: The content is not a JSON object, or its model is not a string.
    """

    __slots__ = ("_decoded", "content", "fields")

    def __init__(self, content: bytes) -> None:
        self.content: bytes = content
        self.fields: BodyFields = _decode_fields(content)
        self._decoded: dict[str, Any] | None = None

    @property
    def _members(self) -> dict[str, Any]:
        if self._decoded is None:
            self._decoded = _decode_object(self.content)
        return self._decoded

    def get(self, name: str, default: Any = None) -> Any:
        if name == "model" and self.fields.model is not None:
            return self.fields.model
        return self._members.get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return repr(self._members)


def path_of_batch_url(url: str) -> str:
    """Return the path of a batch line's ``url``, which begins with the version that a base URL contains."""
    return url.removeprefix("/v1")


def parse_batch_line(line: bytes) -> Request | None:
    """Return the request in a line of the batch format, with the body's bytes unchanged.

    Returns None for any other or unusual line; pass its JSON to `as_request` for the exact error.
    """
    try:
        line.decode()  # msgspec skips over the body without checking its UTF-8
        found = _decode_line(line)
        body = EncodedBody(bytes(found.body))
        return Request(body, path_of_batch_url(found.url), found.method.upper(), found.custom_id)
    except (ValueError, RecursionError):  # msgspec.DecodeError and RequestError are ValueErrors
        return None
