"""What must be true of an output, in the midst of its run and at the end.

The embedded endpoint's answer follows from its seed, the model and the messages alone, and it mentions how
the prompt begins, with the item's id. So the right answer to each item is worked out here and compared: an
answer to another item's question is found, whichever it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.crash.inputs import MODEL, SCHEMA, Form
from tests.crash.serving import SEED

from headrace.testing.server.chat import ChatRequest, Message, create_completion


class LostError(AssertionError):
    """A promise of the journal is broken."""


def whole_lines(path: Path) -> bytes:
    """The output without a torn end; empty where there is none yet."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def check_acknowledged(before: bytes, now: bytes, *, retried: bool) -> None:
    """Raise `LostError` unless each line that was there is there, byte for byte and in its place.

    Where failed items were asked for again (``retried``), theirs may be gone.
    """
    kept = b"".join(line for line in before.splitlines(keepends=True) if not retried or not failed(line))
    if not now.startswith(before) and not now.startswith(kept):
        raise LostError("a line that was acknowledged is gone or changed")
    ids = [json.loads(line)["custom_id"] for line in now.splitlines()]  # no line but the last may be torn
    if len(ids) != len(set(ids)):
        raise LostError("an item has two lines")


def failed(line: bytes) -> bool:
    """Whether a line holds an error."""
    return json.loads(line)["error"] is not None


def check_complete(path: Path, prompts: Mapping[str, str], form: Form) -> None:
    """Raise `LostError` unless each item has one line, with the right answer to its own question."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    if sorted(line["custom_id"] for line in lines) != sorted(prompts):
        raise LostError("not every item is there exactly once")
    for line in lines:
        id = line["custom_id"]
        body = line["response"]["body"]
        text = body["choices"][0]["message"]["content"]
        if line["error"] is not None or id not in text or body != _answer(prompts[id], form, body["id"]):
            raise LostError(f"{id} has the wrong answer {text!r}")
    if len({line["response"]["body"]["id"] for line in lines}) != len(lines):  # digests of the requests
        raise LostError("two items have one answer")


def _answer(prompt: str, form: Form, id: str) -> Any:
    schema = {"type": "json_schema", "json_schema": {"schema": SCHEMA}} if form.schema else None
    request = ChatRequest(model=MODEL, messages=[Message("user", prompt)], response_format=schema)
    return msgspec.json.decode(create_completion(request, id=id, seed=SEED).body())
