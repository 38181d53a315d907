"""Reads all answers of a reply that may have several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.bulk.item_result import unwritable
from headrace.bulk.line_encoding import plain_answer
from headrace.bulk.output_line import OutputLine
from headrace.bulk.task import Task, read_choice
from headrace.errors import AnswerError, HeadraceError, InvalidReply
from headrace.pipeline.attempt import parse_reply
from headrace.replies import Headers, Reply
from headrace.wire.finish_reasons import finish_reason_of, incomplete_answer_error


@attrs.frozen
class Sample:
    """One answer of a reply.

    Attributes:
        answer: The choice, the typed answer as plain values, or the text; None if it cannot be read.
        error: Why it cannot be read.
        finish_reason: Why it ended; None if unknown.
    """

    answer: Any
    error: HeadraceError | None = None
    finish_reason: str | None = None


def read_samples(line: OutputLine, task: Task) -> list[Sample]:
    """All answers of a line whose call was answered, at least one; each is checked by itself."""
    assert line.response is not None
    try:
        body = decode_json(bytes(line.response.body))
    except NOT_JSON:
        body = None
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        return [_read(body, task)]
    return [_read({"choices": [choice]}, task) for choice in choices]


def _read(body: Any, task: Task) -> Sample:
    reply = Reply(200, Headers([]), msgspec.json.encode(body))
    reason = finish_reason_of(reply.content)
    if reason is not None and reason in task.fail_on:
        return Sample(None, incomplete_answer_error(reply, reason), reason)
    try:
        answer, error = _answer_in(reply, task)
    except (AnswerError, InvalidReply) as problem:
        answer, error = None, problem
    return Sample(answer, error, reason)


def _answer_in(reply: Reply, task: Task) -> tuple[Any, HeadraceError | None]:
    if task.answer is None:
        return read_choice(task.choices, reply) if task.choices else (reply.text, None)
    answer = parse_reply(reply, task.answer).answer
    try:
        return plain_answer(answer), None
    except Exception as problem:  # of a type of the user
        return None, unwritable(problem)


def count_votes(answers: Sequence[Any]) -> dict[str, int]:
    """The number of votes of each choice, the most frequent first; of equal ones, the earliest given."""
    return dict(Counter(answer for answer in answers if answer is not None).most_common())
