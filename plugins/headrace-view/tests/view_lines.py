"""Output lines for the tests of the page, and what a whole read of an output gives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace_view.index import IndexBuilder, IndexPlace

START = 1_767_225_600.0
"""When the first item was done, in Unix seconds."""


def make_line(number: int, id: str | None = None, answer: Any = "yes", **given: Any) -> dict[str, Any]:
    """An output line.

    Args:
        number: The number of the item.
        id: Its id; None for ``row NUMBER``.
        answer: The text of the answer, or a typed one.
        **given: ``code`` and ``message`` of an error, ``status``, ``reason``, ``elapsed``, ``cost``,
            ``attempts`` and further members of ``headrace``.
    """
    code, status = given.pop("code", None), given.pop("status", 200)
    text = answer if isinstance(answer, str) else json.dumps(answer)
    message = {"role": "assistant", "content": text, **given.pop("reply", {})}
    body: dict[str, Any] = {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": given.pop("reason", "stop")}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    error = None if code is None else {"code": code, "message": given.pop("message", "the endpoint says no")}
    notes = {"attempts": 1, "elapsed": 0.5, "completed_at": START + number, "digest": 7, **given}
    if not isinstance(answer, str):
        notes["answer"] = answer
    return {
        "id": f"headrace-{number}",
        "custom_id": f"row {number}" if id is None else id,
        "response": None if status is None else {"status_code": status, "request_id": "req", "body": body},
        "error": error,
        "headrace": notes,
    }


def encode(lines: Iterable[dict[str, Any]]) -> bytes:
    """The lines as they are in a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def write_output(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    """Write an output; returns its path."""
    path.write_bytes(encode(lines))
    return path


def index_whole(path: Path) -> tuple[IndexBuilder, IndexPlace]:
    """The index of all lines of an output."""
    place = IndexPlace(path)
    builder = IndexBuilder(path, place)
    while builder.step():
        pass
    return builder, place
