"""Bodies that are JSON already, as in a line of OpenAI's batch format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.calls import Request


class BodyFields(msgspec.Struct):
    """What headrace itself reads of a body before it is sent."""

    model: str | None = None
    stream: bool | None = None


class _BatchLine(msgspec.Struct):
    url: str
    body: msgspec.Raw
    custom_id: str | None = None
    method: str = "POST"


_read_fields = msgspec.json.Decoder(BodyFields).decode
_read_line = msgspec.json.Decoder(_BatchLine).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class EncodedBody(Mapping[str, Any]):
    """A body as JSON: sent as it is, and decoded only when more than its ``fields`` is read.

    Raises `msgspec.DecodeError` for what is no JSON object, or has a model that is no text.
    """

    __slots__ = ("_decoded", "content", "fields")

    def __init__(self, content: bytes) -> None:
        self.content: bytes = content
        self.fields: BodyFields = _read_fields(content)
        self._decoded: dict[str, Any] | None = None

    @property
    def _all(self) -> dict[str, Any]:
        if self._decoded is None:
            self._decoded = _decode(self.content)
        return self._decoded

    def get(self, name: str, default: Any = None) -> Any:
        if name == "model" and self.fields.model is not None:
            return self.fields.model
        return self._all.get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


def parse_batch_line(line: bytes) -> Request | None:
    """The request that a line of the batch format holds, its body as it stands there.

    None for a line that is anything else, or not as usual; `as_request` of its JSON says why.
    """
    try:
        line.decode()  # a body is looked through, which does not show whether it is UTF-8
        read = _read_line(line)
        # The format writes the API's version into the path; here it is part of the base URL.
        path = read.url.removeprefix("/v1")
        return Request(EncodedBody(bytes(read.body)), path, read.method.upper(), read.custom_id)
    except (ValueError, RecursionError):  # msgspec.DecodeError and RequestError are such
        return None
