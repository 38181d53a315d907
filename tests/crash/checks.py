"""Checks of an output, during its run and at the end.

The embedded endpoint's answer depends only on its seed, the model and the messages, and repeats the
beginning of the prompt, which has the item's id. So the expected answer to each item is computed here and
compared. This detects an answer to another item's prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.crash.inputs import CATEGORIES, MODEL, SCHEMA, Form
from tests.crash.serving import SEED

from headrace.testing.server.chat import ChatRequest, create_completion
from headrace.testing.server.messages import Message


class LostError(AssertionError):
    """A promise of the journal is broken."""


def whole_lines(path: Path) -> bytes:
    """The output without a torn last line; empty if there is no output yet."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def check_acknowledged(before: bytes, now: bytes, *, retried: bool) -> None:
    """Raise `LostError` unless all earlier lines are unchanged and in their place.

    If failed items are sent again (``retried``), their lines may be gone.
    """
    kept = b"".join(line for line in before.splitlines(keepends=True) if not retried or not failed(line))
    if not now.startswith(before) and not now.startswith(kept):
        raise LostError("a line that was acknowledged is gone or changed")
    ids = [json.loads(line)["custom_id"] for line in now.splitlines()]  # no line but the last may be torn
    if len(ids) != len(set(ids)):
        raise LostError("an item has two lines")


def check_steps_acknowledged(before: bytes, now: bytes) -> None:
    """Raise `LostError` unless all earlier lines of a steps journal are in their place, each answer once."""
    if not now.startswith(before):
        raise LostError("an answer of a step that was acknowledged is gone or changed")
    lines = [json.loads(line) for line in now.splitlines()]
    answers = [(line["custom_id"], line["headrace"]["step"]) for line in lines]
    if len(answers) != len(set(answers)):
        raise LostError("a step of a row was answered twice")


def failed(line: bytes) -> bool:
    """Whether a line holds an error."""
    return json.loads(line)["error"] is not None


def check_complete(path: Path, prompts: Mapping[str, str], form: Form) -> None:
    """Raise `LostError` unless each item has exactly one line, with the answer to its own prompt."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    if sorted(line["custom_id"] for line in lines) != sorted(prompts):
        raise LostError("some items do not have exactly one line")
    for line in lines:
        id = line["custom_id"]
        body = line["response"]["body"]
        text = body["choices"][0]["message"]["content"]
        if form.steps:
            answers = _answers_of_steps(id, prompts[id])
            wrong = line["headrace"]["steps"] != answers
        else:
            wrong = id not in text or body != _answer(prompts[id], form, body["id"])
        if line["error"] is not None or wrong:
            raise LostError(f"{id} has the wrong answer {text!r}")
    if len({line["response"]["body"]["id"] for line in lines}) != len(lines):  # digests of the requests
        raise LostError("two items have one answer")


def _answer(prompt: str, form: Form, id: str) -> Any:
    schema = _SCHEMA_FORMAT if form.schema else None
    return _completion([Message("user", prompt)], schema, id)


def _answers_of_steps(id: str, prompt: str) -> dict[str, Any]:
    """What the steps of `tests.crash.inputs.JOB` answer for a row with this first prompt."""
    instructions = f"Answer with exactly one of: {' | '.join(CATEGORIES)}\nGive no explanation."
    category = _text([Message("system", instructions), Message("user", prompt)])
    if category != "Garten":
        return {"category": category, "advert": None, "verdict": None}
    advert = _text([Message("user", prompt.replace("Kategorie von", "Werbetext für"))])
    verdict = _text([Message("user", f"{id}: Urteil über {advert}")], _SCHEMA_FORMAT)
    return {"category": category, "advert": advert, "verdict": json.loads(verdict)}


_SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}


def _text(messages: list[Message], schema: Any = None) -> str:
    text: str = _completion(messages, schema, "")["choices"][0]["message"]["content"]
    return text


def _completion(messages: list[Message], schema: Any, id: str) -> Any:
    request = ChatRequest(model=MODEL, messages=messages, response_format=schema)
    return msgspec.json.decode(create_completion(request, id=id, seed=SEED).body())
