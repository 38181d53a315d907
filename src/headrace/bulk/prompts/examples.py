"""Examples for few-shot prompts: rows with an answer, which become messages before the prompt."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from headrace.bulk.prompts.prompt import Prompt
from headrace.bulk.sources import Source
from headrace.bulk.template import as_text
from headrace.errors import InputError
from headrace.wire.choice_matching import match_choice
from headrace.wire.request_bodies import Message

_ANSWER = "answer"


@attrs.frozen
class Example:
    """The row of an example, and its place for messages."""

    row: Mapping[str, Any] = attrs.field(repr=False)
    where: str


ExamplesLike: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any]] | Sequence[Example]
"""A file of examples, or their rows."""


def read_examples(examples: ExamplesLike | None) -> tuple[Example, ...]:
    """The examples, read once; raises `InputError` if the file cannot be read."""
    if examples is None:
        return ()
    if isinstance(examples, (str, os.PathLike)):
        source = Source(examples)
        return tuple(Example(item.row, source.where(item.line)) for item in source.items())
    if isinstance(examples, Mapping) or not isinstance(examples, Iterable):
        raise InputError(f"examples=: must be a file or a list of rows, not {type(examples).__name__}")
    found: list[Example] = []
    for number, row in enumerate(examples, 1):
        if not isinstance(row, (Mapping, Example)):
            raise InputError(f"examples=: item {number} must be a mapping, not {type(row).__name__}")
        found.append(row if isinstance(row, Example) else Example(row, f"item {number} of the examples"))
    return tuple(found)


def example_messages(
    examples: Sequence[Example], prompt: Prompt | None, choices: Sequence[str]
) -> list[Message]:
    """A user and an assistant message for each example.

    Raises:
        InputError: There is no prompt, or an example lacks a column or an answer.
    """
    if examples and prompt is None:
        raise InputError("examples=: need prompt=, which makes their questions")
    messages: list[Message] = []
    for example in examples:
        assert prompt is not None
        prompt.check(example.row, example.where)
        try:
            question = prompt.render(example.row)
        except InputError as error:
            raise InputError(f"{example.where}: {error}") from None
        if not isinstance(question, str):
            raise InputError("examples=: need a prompt that is one text, not a list of messages")
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": _answer(example, choices)})
    return messages


def _answer(example: Example, choices: Sequence[str]) -> str:
    answer = as_text(example.row.get(_ANSWER))
    if not answer:
        raise InputError(f"{example.where}: an example needs a column {_ANSWER!r} that is not empty")
    if choices and match_choice(choices, answer) is None:
        raise InputError(f"{example.where}: the answer {answer[:80]!r} is not one of the choices")
    return answer
