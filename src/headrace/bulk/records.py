"""The lines of the output: OpenAI's batch format, with what headrace knows besides under ``headrace``."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headrace.errors import CallError, HeadraceError, StatusError
from headrace.model import Outcome, Reply
from headrace.requests import encode_json

_ID = re.compile(r"headrace-(\d{1,15})")


class Line(msgspec.Struct):
    """What is read back of an output line: its place in the input, and whether it failed."""

    id: str
    error: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def index(self) -> int | None:
        """The item's place in the input, None for a line that headrace has not written."""
        match = _ID.fullmatch(self.id)
        return int(match[1]) if match else None

    @property
    def failed(self) -> bool:
        """True where the line holds an error."""
        return bytes(self.error) != b"null"


_look_through = msgspec.json.Decoder(msgspec.Raw).decode
decode_line = msgspec.json.Decoder(Line).decode


def encode_line(
    index: int, id: str, outcome: Outcome, answer: str | None, error: HeadraceError | None
) -> bytes:
    """The output line of one item, line feed included."""
    reply = outcome.reply
    notes: dict[str, Any] = {"attempts": outcome.attempts, "elapsed": round(outcome.elapsed, 6)}
    if reply is not None and reply.cost is not None:
        notes["cost"] = str(reply.cost)
    if answer is not None:
        notes["answer"] = answer
    line = {
        "id": f"headrace-{index}",
        "custom_id": id,
        "response": _response(reply, error),
        "error": _error(error),
        "headrace": notes,
    }
    return encode_json(line) + b"\n"


def _error(error: HeadraceError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"code": error.code if isinstance(error, CallError) else "request_error", "message": str(error)}


def _response(reply: Reply | None, error: HeadraceError | None) -> dict[str, Any] | None:
    if reply is not None:
        return {"status_code": reply.status, "request_id": reply.request_id, "body": _body(reply.content)}
    if isinstance(error, StatusError) and error.headers is not None:
        request_id = error.headers.get("x-request-id")
        return {"status_code": error.status, "request_id": request_id, "body": _body(error.body)}
    return None


def _body(content: bytes) -> Any:
    """The body as it came, where it fits on a line of UTF-8; else decoded, or as text if it is no JSON."""
    try:
        # Looked through and not decoded, which is all that is needed for most; that it is UTF-8 is not seen.
        body = _look_through(content)
        content.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content.decode("utf-8", "replace") or None
    return msgspec.json.decode(content) if b"\n" in content or b"\r" in content else body
