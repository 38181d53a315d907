"""What the index keeps of an output line."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import msgspec

from headrace.bulk import OutputLine, decode_line
from headrace_view.index.counted_row import CountedRow

PICO = 10**12
"""Costs are whole numbers of 1/PICO USD, so that sums are exact."""

_LONGEST_NAME = 200
_LONGEST_PREVIEW = 280
_LONGEST_MESSAGE = 400
_LONGEST_LABEL = 60
_SEARCHED = 4000
"""Characters of an answer that a search finds."""

_NO_COST, _MOST_COST = Decimal(0), Decimal(1 << 62) / PICO
_MOST_STATUS = 999_999


class LineFacts(CountedRow, gc=False, kw_only=True):
    """The facts of one line.

    Attributes:
        key: A hash of the id, by which a later line replaces this one.
        digest: A hash of the answer, by which two runs are compared; 0 for a failed item.
        name: The id, cut.
        preview: The beginning of the answer.
        message: The message of the error, cut.
        text: The part of the answer that a search finds.
    """

    key: int
    digest: int
    name: str
    preview: str
    message: str
    text: str


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_facts(raw: bytes) -> LineFacts | None:
    """The facts of a line; None if it is not an output line."""
    try:
        line = decode_line(raw)
        return _facts(line)
    except _UNREADABLE:
        return None


def _facts(line: OutputLine) -> LineFacts:
    notes, error = line.headrace, line.error
    reason, answered = line.finish_reason or "", line.answered
    shown = shown_answer(line)
    text = as_text(shown)
    code = ""
    if error is not None:
        detail = reason if answered else line.status
        code = " ".join(str(part) for part in (error.code, detail) if part)[:_LONGEST_LABEL]
    tokens_in, tokens_out = _tokens(line)
    return LineFacts(
        key=key_of(line.custom_id),
        failed=error is not None,
        status=None if line.status is None else max(0, min(line.status, _MOST_STATUS)),
        code=code,
        reason=reason[:_LONGEST_LABEL],
        answer=_label(line),
        digest=0 if error is not None else _hash(text.encode("utf-8", "replace")) or 1,
        elapsed=round(notes.elapsed * 1e6),
        cost=None if notes.cost is None else int(max(_NO_COST, min(notes.cost, _MOST_COST)) * PICO),
        attempts=min(notes.attempts, 1 << 31),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        done_at=None if notes.completed_at is None else round(notes.completed_at * 1000),
        name=cut(line.custom_id, _LONGEST_NAME),
        preview=cut(text, _LONGEST_PREVIEW),
        message="" if error is None else cut(error.message, _LONGEST_MESSAGE),
        text=text[:_SEARCHED],
    )


def key_of(id: str) -> int:
    """The key of an item's id."""
    return _hash(id.encode("utf-8", "replace"))


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)


def shown_answer(line: OutputLine) -> Any:
    """The answer that the page shows: of a failed item too, if there was one."""
    if line.steps is not None:
        return line.steps
    if line.answers is not None:
        return line.answer if line.headrace.votes is not None else line.answers
    return line.text if line.error is not None else line.answer


def as_text(answer: Any) -> str:
    """An answer as text; what is not a text is JSON."""
    if answer is None:
        return ""
    return answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()


def cut(text: str, most: int) -> str:
    """The text, with an ellipsis if it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _label(line: OutputLine) -> str | None:
    answer = line.answer
    if line.steps is not None or answer is None or isinstance(answer, list | dict):
        return None
    label = as_text(answer)
    return label if 0 < len(label) <= _LONGEST_LABEL and "\n" not in label else None


def _tokens(line: OutputLine) -> tuple[int, int]:
    """The tokens of the prompt and of the answer; none for an answer from a cache."""
    notes = line.headrace
    if line.steps is not None or line.answers is not None:
        return max(0, notes.prompt_tokens), max(0, notes.completion_tokens)
    if not line.answered or line.response is None or not notes.attempts:
        return 0, 0
    try:
        usage = _decode_body(line.response.body).usage or _Usage()
    except _UNREADABLE:
        return 0, 0
    tokens = usage.prompt_tokens or usage.input_tokens, usage.completion_tokens or usage.output_tokens
    return max(0, min(tokens[0] or 0, 1 << 40)), max(0, min(tokens[1] or 0, 1 << 40))
