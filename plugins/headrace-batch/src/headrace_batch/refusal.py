"""Why an endpoint refused a part, and what helps: time, smaller parts, or fewer rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

from headrace_batch.dialect import BatchProblem, BatchView
from headrace_batch.part_steps import StepFailed

_CONTENT_TOO_LARGE = 413
_NO_ROOM = re.compile(r"token_limit|enqueued token", re.IGNORECASE)
_TOO_LARGE = re.compile(r"too_many|too_large|too many|too large|exceeds|maximum", re.IGNORECASE)
_BY_SIZE = re.compile(r"size|large|bytes")


@attrs.frozen
class Refusal:
    """A refusal of a part.

    Attributes:
        text: The reason in the endpoint's words.
        batch: The batch that was refused; None if none was created.
        has_no_room: Whether too many tokens are enqueued.
        limit: Of what a part of several rows has too much; None if smaller ones do not help.
        lines: For each line that made the endpoint refuse the part, why; counted from 1.
    """

    text: str
    batch: str | None
    has_no_room: bool
    limit: Literal["bytes", "requests"] | None
    lines: Mapping[int, str]


def refusal_of_batch(batch: BatchView, rows: int) -> Refusal:
    """Why a batch with so many rows has failed."""
    problems = batch.problems or (BatchProblem("", "the endpoint gives no reason"),)
    first = problems[0]
    text = f"{first.code} {first.message}".strip()
    has_no_room = _NO_ROOM.search(text) is not None
    by_size = _BY_SIZE.search(text) is not None
    too_large = _TOO_LARGE.search(text) is not None
    lines = {each.line: each.message for each in problems if each.line is not None}
    if rows == 1 and by_size and too_large:
        lines = lines or {1: first.message}
    limit: Literal["bytes", "requests"] | None = None
    if rows > 1 and (too_large or has_no_room):
        limit = "bytes" if by_size else "requests"
    return Refusal(text, batch.id, has_no_room, limit, lines)


def refusal_of_step(error: StepFailed, rows: int) -> Refusal:
    """Why an upload or a create was refused at once, as Azure does, for a part with so many rows."""
    text = str(error)
    has_no_room, too_large = _NO_ROOM.search(text) is not None, error.status == _CONTENT_TOO_LARGE
    limit: Literal["bytes", "requests"] | None = None
    if rows > 1 and (has_no_room or too_large):
        limit = "requests" if has_no_room else "bytes"
    return Refusal(text, None, has_no_room, limit, {1: text} if too_large and rows == 1 else {})
