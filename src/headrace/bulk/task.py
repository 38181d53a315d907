"""What a bulk run asks of each item, and whether the answer is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from headrace.bulk.distinct import Distinct
from headrace.bulk.sources import Item, Items
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
        raise InputError("--choices: one of them is empty")
    if len({normalize_choice(choice) for choice in found}) != len(found):
        raise InputError("--choices: two of them are the same but for case")
    return found


def _as_format(answer: Any) -> ResponseFormat | None:
    try:
        return None if answer is None else response_format_for(answer)
    except RequestError as error:
        raise InputError(f"--schema: {error}") from None


@attrs.frozen
class Task:
    """What a run asks of each item.

    ``prompt`` is a template over the columns of the input; None for input in OpenAI's batch format, which
    holds whole requests. With ``choices`` the model is told to answer with one of them, and an answer
    that is none is an `AnswerError`; ``answer`` is the type of each answer, as with `Client.chat`, in place
    of choices. ``model`` is used where the input names none. ``system`` stands above each prompt,
    ``parameters`` are the API's own (``temperature``, …) for all requests.
    """

    source: Items
    prompt: Template | None
    model: str | None
    choices: tuple[str, ...] = attrs.field(default=None, converter=_as_choices)
    system: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    answer: ResponseFormat | None = attrs.field(default=None, converter=_as_format)

    def __attrs_post_init__(self) -> None:
        try:
            chat_body("", self.parameters)
            encode_body(self.parameters)
        except RequestError as error:
            raise InputError(f"--param: {error}") from None
        if self.answer is not None and (self.choices or "response_format" in self.parameters):
            raise InputError(
                "--schema says what the answer is to be; leave out --choices and response_format"
            )
        if self.source.kind == "batch":
            said = self.prompt, self.system, self.answer
            if self.choices or self.parameters or any(each is not None for each in said):
                raise InputError(
                    f"{self.source.name}: this is OpenAI's batch format, which holds whole requests; "
                    "leave out --prompt, --system, --param, --choices and --schema"
                )
        elif self.prompt is None:
            raise InputError(f"{self.source.name}: --prompt is missing; it may name columns, like {{name}}")
        elif self.model is None:
            raise InputError("no model: say --model, or set HEADRACE_MODEL")

    def check(self) -> int:
        """Read all of the input and return the number of its items; raises `InputError` for a bad one."""
        ids, number = Distinct(), 0
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
        """The request for an item; raises `InputError` with file and line for what `check` refuses."""
        if item.request is not None:
            return item.request  # of which the client sees to the rest
        if self.prompt is None:
            return self._whole_request(item)
        messages: list[dict[str, Any]] = [{"role": "user", "content": self.prompt.render(item.row)}]
        told = [self.system] if self.system is not None else []
        if self.choices:
            told += [f"Answer with exactly one of: {' | '.join(self.choices)}", "Give no explanation."]
        if told:
            messages.insert(0, {"role": "system", "content": "\n".join(told)})
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
        """What must be the same for a run to be resumed."""
        return {
            "input": self.source.digest(),
            "prompt": self.prompt.text if self.prompt else None,
            "model": self.model,
            "choices": list(self.choices),
            "system": self.system,
            "parameters": dict(self.parameters) or None,
            "answer": None if self.answer is None else dict(self.answer.schema),
        }


def judge(choices: Sequence[str], reply: Reply) -> tuple[str | None, HeadraceError | None]:
    """The choice that a reply makes and no error, or no choice and the error; neither without choices."""
    if not choices:
        return None, None
    try:
        text = reply.text
    except InvalidReply as error:
        return None, error
    choice = match_choice(choices, text)
    if choice is not None:
        return choice, None
    said = text if len(text) <= 80 else text[:79] + "…"
    return None, with_finish_reason(reply, AnswerError(f"the answer {said!r} is not one of the choices"))


def _duplicate(source: Items, ids: Distinct) -> str | None:
    """Where an id is found twice, as a message; None if ``ids``, filled from the source, are distinct."""
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
                    f"first in {unit} {lines[item.id]}; name a column of distinct ids with --id-column"
                )
            lines[item.id] = item.line
    return None
