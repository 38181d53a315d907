"""Makes the request for each item of a bulk run, and checks its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import attrs

from headrace.bulk.duplicate_ids import DuplicateFinder
from headrace.bulk.fail_on import DEFAULT_FAIL_ON, parse_fail_on
from headrace.bulk.sources import Item, TaskInput
from headrace.bulk.template import Template
from headrace.calls import Request
from headrace.errors import AnswerError, HeadraceError, InputError, InvalidReply, RequestError
from headrace.replies import Reply
from headrace.wire.choice_matching import match_choice, normalize_choice
from headrace.wire.finish_reasons import with_finish_reason
from headrace.wire.request_bodies import as_request, chat_body, encode_body
from headrace.wire.structured_output import ResponseFormat, response_format_for


def _as_choices(choices: Iterable[str] | None) -> tuple[str, ...]:
    found = tuple(choice.strip() for choice in choices or ())
    if choices is not None and not all(found):
        raise InputError("choices=: one of them is empty")
    if len({normalize_choice(choice) for choice in found}) != len(found):
        raise InputError("choices=: two of them differ only in upper and lower case")
    return found


def _as_format(answer: Any) -> ResponseFormat | None:
    try:
        return None if answer is None else response_format_for(answer)
    except RequestError as error:
        raise InputError(f"answer=: {error}") from None


@attrs.frozen
class Task:
    """Makes the request for each item of a run.

    Args:
        source: The items.
        prompt: A template over the columns of the input; None for OpenAI's batch format, whose lines are
            whole requests.
        model: The model for requests that name none.
        choices: The allowed answers. The prompt asks the model for one of them; any other answer is an
            `AnswerError`.
        system: A system message for each prompt.
        parameters: Parameters of the API for all requests, like ``temperature``.
        answer: The type of each answer, as with `Client.chat`; not together with ``choices``.
        fail_on: The finish reasons that make an item fail; see `headrace.bulk.run`.

    Raises:
        InputError: The arguments do not fit together or are not valid.
    """

    source: TaskInput
    prompt: Template | None
    model: str | None
    choices: tuple[str, ...] = attrs.field(default=None, converter=_as_choices)
    system: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    answer: ResponseFormat | None = attrs.field(default=None, converter=_as_format)
    fail_on: Set[str] = attrs.field(default=DEFAULT_FAIL_ON, converter=parse_fail_on)

    def __attrs_post_init__(self) -> None:
        try:
            chat_body("", self.parameters)
            encode_body(self.parameters)
        except RequestError as error:
            raise InputError(f"parameters=: {error}") from None
        if self.answer is not None and (self.choices or "response_format" in self.parameters):
            raise InputError(
                "answer= sets the form of the answer; leave out choices= and the parameter response_format"
            )
        if self.source.kind == "batch":
            prompt_arguments = self.prompt, self.system, self.answer
            if self.choices or self.parameters or any(each is not None for each in prompt_arguments):
                raise InputError(
                    f"{self.source.name}: this is OpenAI's batch format, whose lines are whole requests; "
                    "leave out prompt=, system=, parameters=, choices= and answer="
                )
        elif self.prompt is None:
            raise InputError(f"{self.source.name}: prompt= is missing; it may name columns, like {{name}}")
        elif self.model is None:
            raise InputError("no model: set model=, or HEADRACE_MODEL")

    def check(self) -> int:
        """Read the whole input and return its number of items; raises `InputError` for an invalid item."""
        ids, number = DuplicateFinder(), 0
        for item in self.source.items():
            ids.add(item.id)
            number += 1
            if self.prompt is not None:
                self.prompt.check(item.row, self.source.where(item.line))
            else:
                self._whole_request(item)
        if not number:
            raise InputError(f"{self.source.name}: no items")
        duplicate = _duplicate(self.source, ids)
        if duplicate:
            raise InputError(duplicate)
        return number

    def request(self, item: Item) -> Request:
        """The request for an item; raises `InputError` with file and line for an invalid item."""
        if item.request is not None:
            return item.request  # the client checks the rest
        if self.prompt is None:
            return self._whole_request(item)
        messages: list[dict[str, Any]] = [{"role": "user", "content": self.prompt.render(item.row)}]
        instructions = [self.system] if self.system is not None else []
        if self.choices:
            instructions += [
                f"Answer with exactly one of: {' | '.join(self.choices)}",
                "Give no explanation.",
            ]
        if instructions:
            messages.insert(0, {"role": "system", "content": "\n".join(instructions)})
        body = {"model": self.model, "messages": messages, **self.parameters}
        return Request(body, id=item.id, answer=self.answer)

    def _whole_request(self, item: Item) -> Request:
        """The request that a line of the batch format holds."""
        try:
            request = as_request(item.request or item.row, self.model)
        except RequestError as error:
            raise InputError(f"{self.source.where(item.line)}: {error}") from None
        return attrs.evolve(request, id=item.id) if request.id is None else request

    def fingerprint(self) -> dict[str, Any]:
        """The values that must be the same when a run is resumed."""
        return {
            "input": self.source.digest(),
            "prompt": self.prompt.text if self.prompt else None,
            "model": self.model,
            "choices": list(self.choices),
            "system": self.system,
            "parameters": dict(self.parameters) or None,
            "answer": None if self.answer is None else dict(self.answer.schema),
        }


def read_choice(choices: Sequence[str], reply: Reply) -> tuple[str | None, HeadraceError | None]:
    """The choice in a reply, or the error if it contains none; both None without choices."""
    if not choices:
        return None, None
    try:
        text = reply.text
    except InvalidReply as error:
        return None, error
    choice = match_choice(choices, text)
    if choice is not None:
        return choice, None
    excerpt = text if len(text) <= 80 else text[:79] + "…"
    return None, with_finish_reason(reply, AnswerError(f"the answer {excerpt!r} is not one of the choices"))


def _duplicate(source: TaskInput, ids: DuplicateFinder) -> str | None:
    """A message that names the first id that occurs twice; None if the ids are distinct."""
    suspects = ids.repeated()
    if not suspects:
        return None
    lines: dict[str, int] = {}
    for item in source.items():
        if hash(item.id) in suspects:
            if item.id in lines:
                unit = "row" if source.kind == "parquet" else "line"
                return (
                    f"{source.where(item.line)}: duplicate {source.id_column} {item.id!r}, "
                    f"first in {unit} {lines[item.id]}; name a column of distinct ids with id_column="
                )
            lines[item.id] = item.line
    return None
