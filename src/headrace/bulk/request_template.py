"""Makes the request for a row: messages, model, parameters, tags and priority."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from headrace.bulk.prompts import Prompt
from headrace.bulk.prompts.column_values import ColumnValue, column_of, constant, with_article
from headrace.bulk.prompts.conversation import ConversationColumn, add_parts, join
from headrace.bulk.prompts.examples import Example, example_messages
from headrace.bulk.prompts.jinja_template import JinjaTemplate
from headrace.bulk.prompts.media_columns import MediaColumns
from headrace.bulk.template import Template
from headrace.calls import Request, RequestFields, plain_request
from headrace.errors import InputError, RequestError
from headrace.wire.parameters import json_types
from headrace.wire.request_bodies import Message, chat_body, encode_body, encode_json
from headrace.wire.structured_output import ResponseFormat

_TEXT, _INTEGER = frozenset({"string"}), frozenset({"integer"})
_MADE_HERE = ("model", "messages")

_HIGHEST_PRIORITY = 2**53
"""The highest integer that every format between processes and in files can hold."""

_TOO_HIGH = "must be at least -2**53 and at most 2**53"

_IN_BRACES = re.compile(r"\{\s*([^\W\d][\w. -]*)\}")
_EMBEDDING_MODEL = re.compile(r"embed|(^|[/:])bge-|(^|[/:-])e5-", re.IGNORECASE)


@attrs.define(eq=False, kw_only=True)
class RequestTemplate:
    """Makes the request for each row; see `Task` for the arguments.

    A row that no request can be made for is an `InputError`. It concerns that row alone.

    Attributes:
        columns: The columns that a request is made of; None for the whole row.
        has_media: Whether there are columns of images, files or audio.

    Raises:
        InputError: The arguments are not valid, or all rows would get the same request.
    """

    prompt: Prompt | None
    system: Prompt | None
    messages: str | None
    examples: Sequence[Example]
    model: str | None
    model_column: str | None
    parameters: Mapping[str, Any]
    tags: Mapping[str, str]
    priority: int | str
    extra_body: Mapping[str, Any]
    choices: Sequence[str]
    answer: ResponseFormat | None
    media: MediaColumns
    columns: Sequence[str] | None = attrs.field(init=False)
    _example_messages: list[Message] = attrs.field(init=False)
    _instructions: list[str] = attrs.field(init=False)
    _conversation: ConversationColumn | None = attrs.field(init=False)
    _model_value: ColumnValue | None = attrs.field(init=False)
    _parameter_values: dict[str, ColumnValue] = attrs.field(init=False)
    _tag_values: dict[str, ColumnValue] = attrs.field(init=False)
    _priority_value: ColumnValue | None = attrs.field(init=False)
    has_media: bool = attrs.field(init=False)
    _required: frozenset[str] | None = attrs.field(init=False)
    _checks: tuple[Callable[[Mapping[str, Any], str], None], ...] = attrs.field(init=False)
    _constants: dict[str, Any] = attrs.field(init=False)
    _constant_tags: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._check_constants()
        columns = {name: column for name, value in self.parameters.items() if (column := column_of(value))}
        self._parameter_values = {
            name: ColumnValue(column, f"the parameter {name}", json_types(name))
            for name, column in columns.items()
        }
        self._constants = {
            name: constant(value) for name, value in self.parameters.items() if name not in columns
        } | dict(self.extra_body)
        tags = {name: column for name, value in self.tags.items() if (column := column_of(value))}
        self._tag_values = {
            name: ColumnValue(column, f"the tag {name}", _TEXT) for name, column in tags.items()
        }
        self._constant_tags = {name: constant(value) for name, value in self.tags.items() if name not in tags}
        self._conversation = None if self.messages is None else ConversationColumn(self.messages)
        self._model_value = (
            None if self.model_column is None else ColumnValue(self.model_column, "the model", _TEXT)
        )
        priority = column_of(self.priority)
        self._priority_value = None if priority is None else ColumnValue(priority, "the priority", _INTEGER)
        self._instructions = []
        if self.choices:
            self._instructions = [
                f"Answer with exactly one of: {' | '.join(self.choices)}",
                "Give no explanation.",
            ]
        self._example_messages = example_messages(self.examples, self.prompt, self.choices)
        self._check_rows_differ()
        parts = (
            self.prompt,
            self.system,
            self._conversation,
            self._model_value,
            self._priority_value,
            self.media,
        )
        values = (*self._parameter_values.values(), *self._tag_values.values())
        self.columns = self._used_columns()
        self.has_media = bool(self.media.columns)
        checked = [part for part in (*parts, *values) if part is not None and part is not self.media]
        only_templates = not self.has_media and all(isinstance(part, Template) for part in checked)
        self._required = frozenset(self.columns) if only_templates and self.columns is not None else None
        self._checks = tuple(part.check for part in (*checked, *([self.media] if self.has_media else [])))

    def _check_constants(self) -> None:
        """Raise `InputError` for an argument that no row can make valid."""
        try:
            chat_body("", {name: value for name, value in self.parameters.items() if name != "extra_body"})
            encode_body(self.parameters)
        except RequestError as error:
            raise InputError(f"parameters=: {error}") from None
        if "extra_body" in self.parameters:
            raise InputError(
                "parameters=: extra_body is not one of them; pass extra_body= beside parameters="
            )
        for keyword, kind, values in (
            ("parameters", "a parameter", self.parameters),
            ("tags", "a tag", self.tags),
        ):
            for name, value in values.items():
                if isinstance(value, str) and (braces := _IN_BRACES.search(value)):
                    raise InputError(
                        f"{keyword}=: {name} is {value[:80]!r}, but {kind} is not a template; "
                        f"write @{braces[1].strip()} for the value of a column"
                    )
        for name, value in self.parameters.items():
            if isinstance(value, str) and column_of(value) is None and "string" not in json_types(name):
                kind = with_article(json_types(name))
                raise InputError(f"parameters=: {name} is {value[:80]!r}, but it must be {kind}")
        if not isinstance(self.extra_body, Mapping):
            raise InputError(f"extra_body=: must be a mapping, not {type(self.extra_body).__name__}")
        for name in self.extra_body:
            if name in _MADE_HERE or name in self.parameters:
                other = "parameters= too" if name in self.parameters else "each request already"
                raise InputError(f"extra_body=: {name} is in {other}; leave it out here")
        try:
            encode_body(self.extra_body)
        except RequestError as error:
            raise InputError(f"extra_body=: {error}") from None
        for name, value in self.tags.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise InputError(f"tags=: {name!r} must be a string, and so must its value")
        if column_of(self.priority) is None and type(self.priority) is not int:
            raise InputError(f"priority={self.priority!r}: must be an integer, or @ and the name of a column")
        if isinstance(self.priority, int) and abs(self.priority) > _HIGHEST_PRIORITY:
            raise InputError(f"priority={self.priority}: {_TOO_HIGH}")
        if self.model is not None and self.model_column is None:
            if braces := _IN_BRACES.search(self.model):
                raise InputError(
                    f"model={self.model[:80]!r}: a model is not a template; "
                    f"if the column {braces[1].strip()!r} has the models, name it with model_column="
                )
            if reason := _not_for_chats(self.model):
                raise InputError(f"model={self.model[:80]!r}: {reason}")

    def _check_rows_differ(self) -> None:
        prompts = (each for each in (self.prompt, self.system) if each is not None)
        values = self.messages or self._model_value or self._parameter_values or self.media.columns
        if not values and not any(each.columns for each in prompts):
            example = "{{ name }}" if isinstance(self.prompt, JinjaTemplate) else "{name}"
            name = getattr(self.prompt, "file", None) or "prompt="
            raise InputError(
                f"{name}: names no column, so all rows would get the same prompt; "
                f"name one, like {example} for the column 'name'"
            )

    def _used_columns(self) -> Sequence[str] | None:
        names = [name for part in (self.prompt, self.system) if part is not None for name in part.columns]
        if "row" in names:  # a function or a Jinja template that reads the row itself
            return None
        values = (*self._parameter_values.values(), *self._tag_values.values(), self._priority_value)
        names += [value.column for value in values if value is not None]
        names += [name for name in (self.messages, self.model_column) if name is not None]
        return list(dict.fromkeys([*names, *self.media.columns]))

    def is_complete(self, row: Mapping[str, Any]) -> bool:
        """Whether the row surely passes `check`, in a fifth of the time: it has each name as a column."""
        return self._required is not None and row.keys() >= self._required

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks a column; the message begins with ``where``."""
        for check in self._checks:
            check(row, where)

    def request(self, row: Mapping[str, Any], id: str, where: str) -> Request:
        """The request for a row that has all columns; raises `InputError` if no request can be made.

        ``where`` is the file and line of the row, for files that are read when the call begins.
        """
        messages = self._messages_of(row)
        if self.has_media and (parts := self.media.parts(row, where)):
            add_parts(messages, parts)
        model = self.model if self._model_value is None else self._model_of(row, self._model_value)
        body = {"model": model, "messages": messages, **self._constants}
        for name, value in self._parameter_values.items():
            found = value.read(row)
            if found is not None:
                body[name] = found
        tags = self._constant_tags
        if self._tag_values:
            found_tags = {name: value.read(row) for name, value in self._tag_values.items()}
            tags = tags | {name: value for name, value in found_tags.items() if value is not None}
        given = self._priority_value
        priority: Any = self.priority if given is None else self._priority_of(row, given)
        fields = RequestFields(body, id=id, tags=tags, answer=self.answer, priority=priority)
        return plain_request(fields)  # it has a path and messages, so nothing is left to check

    def _priority_of(self, row: Mapping[str, Any], value: ColumnValue) -> int:
        priority = value.read(row) or 0
        if abs(priority) > _HIGHEST_PRIORITY:
            raise InputError(f"column {value.column!r}: the priority {_TOO_HIGH}")
        return int(priority)

    def _model_of(self, row: Mapping[str, Any], value: ColumnValue) -> str | None:
        model, name = value.read(row), f"column {self.model_column!r}"
        if model is None:
            if self.model is None:
                raise InputError(f"{name} is empty, and no other model is set")
            model, name = self.model, f"{name} is empty, and the other model"
        if reason := _not_for_chats(model):
            raise InputError(f"{name}: {model[:80]!r} {reason}")
        if not model.isprintable():
            raise InputError(f"{name}: {model[:80]!r} has a character of no model's name")
        return str(model)

    def _messages_of(self, row: Mapping[str, Any]) -> list[Message]:
        instructions = self._instructions
        if self.system is not None:
            instructions = [str(self.system.render(row)), *instructions]
        messages: list[Message] = []
        if instructions:
            messages.append({"role": "system", "content": "\n".join(instructions)})
        messages += self._example_messages
        if self._conversation is not None:
            join(messages, self._conversation.read(row))
        if self.prompt is not None:
            found = self.prompt.render(row)
            if isinstance(found, str):
                messages.append({"role": "user", "content": found})
            else:
                join(messages, found)
        return messages

    def fingerprint(self) -> dict[str, Any]:
        """What changes a request, in addition to prompt, system message, model, parameters and choices."""
        jinja = [
            name
            for name, part in (("prompt", self.prompt), ("system", self.system))
            if isinstance(part, JinjaTemplate)
        ]
        examples = encode_json(self._example_messages)
        return {
            "jinja": jinja or None,
            "messages": self.messages,
            "examples": hashlib.sha256(examples).hexdigest() if self._example_messages else None,
            "model_column": self.model_column,
            "extra_body": dict(self.extra_body) or None,
            "image": list(self.media.image) or None,
            "file": list(self.media.file) or None,
            "audio": list(self.media.audio) or None,
            "max_pixels": self.media.max_pixels,
        }


def _not_for_chats(model: str) -> str | None:
    """Why a model cannot answer prompts; None if it may."""
    if not _EMBEDDING_MODEL.search(model):
        return None
    return 'is an embedding model, which cannot answer a prompt; name a chat model, or use task="embed"'
