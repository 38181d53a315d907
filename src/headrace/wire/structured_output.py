"""Answers of a type: its JSON schema goes out with the request, and what comes back is checked against it.

An endpoint is asked in the strictest way that it takes: ``json_schema``, else ``json_object`` with the schema
in a message, else with the message alone.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from headrace.errors import AnswerError
from headrace.wire.choice_matching import match_choice
from headrace.wire.json_in_text import json_objects, unfenced
from headrace.wire.json_schema import NOT_READ, Read, one_line, schema_of, wrapped
from headrace.wire.strict_json_schema import strict_form

_BLANKS = " \t\r\n\ufeff"
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class SchemaMode(enum.IntEnum):
    """How an endpoint is asked for JSON, the strictest way first."""

    JSON_SCHEMA = 0
    JSON_OBJECT = 1
    PROMPT = 2


@attrs.frozen(eq=False)
class ResponseFormat:
    """What an answer is to be: ``kind``, the JSON ``schema`` of an object, and how such an object is read.

    A kind that is not an object (a Literal, a list) ``is_wrapped``: it is asked for as the property
    ``answer`` of one. One that strict mode has no words for (a map, a tuple) is not ``is_strict``: its
    schema is sent as it is.
    """

    kind: Any
    name: str
    schema: Mapping[str, Any] = attrs.field(repr=False)
    _read: Read = attrs.field(repr=False)
    is_wrapped: bool = attrs.field(default=False, repr=False)
    is_strict: bool = attrs.field(default=True, repr=False)
    _by_schema: Mapping[str, Any] = attrs.field(init=False, repr=False)
    _told: Mapping[str, str] = attrs.field(init=False, repr=False)

    @_by_schema.default
    def _describe(self) -> Mapping[str, Any]:
        described = {"name": self.name, "schema": self.schema, "strict": self.is_strict}
        return {"type": "json_schema", "json_schema": described}

    @_told.default
    def _tell(self) -> Mapping[str, str]:
        schema = msgspec.json.encode(self.schema).decode()
        return {
            "role": "system",
            "content": f"Answer with one JSON object that fits this JSON schema, and nothing else: {schema}",
        }

    def __reduce__(self) -> Any:
        # What reads it does not go to another process; made there again, it is remembered like any other.
        return response_format_for, (self.kind,)

    @property
    def choices(self) -> Sequence[str]:
        """The texts of which the answer is one, none where it may be anything else."""
        inner = self.schema["properties"].get("answer", {}) if self.is_wrapped else {}
        if "$ref" in inner:
            inner = self.schema["$defs"].get(inner["$ref"].removeprefix("#/$defs/"), {})
        choices = inner.get("enum", ())
        return choices if all(isinstance(choice, str) for choice in choices) else ()

    def is_requested_by(self, body: Mapping[str, Any]) -> bool:
        """True for a body that asks for this answer by its schema."""
        asked = body.get("response_format")
        return asked is self._by_schema or asked == self._by_schema

    def apply_to(self, body: Mapping[str, Any], how: SchemaMode = SchemaMode.JSON_SCHEMA) -> dict[str, Any]:
        """A chat body that asks for such an answer, however it asked before."""
        body = {name: value for name, value in body.items() if name != "response_format"}
        messages = [message for message in body["messages"] if message != self._told]
        if how is SchemaMode.JSON_SCHEMA:
            body["response_format"] = self._by_schema
        else:
            messages.insert(0, self._told)
            if how is SchemaMode.JSON_OBJECT:
                body["response_format"] = {"type": "json_object"}
        return body | {"messages": messages}

    def read(self, text: str) -> Any:
        """The answer that a text holds; raises `AnswerError` saying what is wrong with it.

        Models put words, a fence or their thoughts around the JSON that they were asked for, and leave the
        object out that a single value was to be in.
        """
        text = text.strip(_BLANKS)
        try:
            return self._read(text.encode())
        except NOT_READ as error:
            found = list(self._within(text))
            if len(found) == 1:
                return found[0]
            said = text if len(text) <= 80 else text[:79] + "…"
            what = f"holds {len(found)} of {self.name}" if found else f"is not {self.name}"
            raise AnswerError(f"the answer {said!r} {what}: {one_line(error)}") from error

    def _within(self, text: str) -> Iterator[Any]:
        """The different answers that are found in a text."""
        seen: set[bytes] = set()
        for written in self._candidates(text):
            try:
                value = self._read(written)
            except NOT_READ:
                continue
            if written not in seen:
                seen.add(written)
                yield value

    def _candidates(self, text: str) -> Iterator[bytes]:
        said = text.rpartition("</think>")[2]  # of models whose prompt begins the block
        yield from json_objects(said)
        if self.choices:
            choice = match_choice(self.choices, said)
            if choice is not None:
                yield msgspec.json.encode({"answer": choice})
        elif self.is_wrapped:
            value = unfenced(said)
            if value[:1] != '"':  # a text could be anything
                yield b'{"answer":%b}' % value.encode("utf-8", "replace")


def response_format_for(kind: Any) -> ResponseFormat:
    """The format for a type or a JSON schema; raises `RequestError` for one that no answer can have."""
    if isinstance(kind, ResponseFormat):
        return kind
    # Remembered: to make a schema and a decoder takes longer than all the rest of a call.
    if isinstance(kind, Mapping):
        return _of_json_schema(msgspec.json.encode(kind))
    return _remembered(kind) if isinstance(kind, Hashable) else _made(kind)


def _made(kind: Any) -> ResponseFormat:
    schema, read = schema_of(kind)
    is_wrapped = schema.get("type") != "object" or "properties" not in schema
    if is_wrapped:
        schema, read = wrapped(kind, schema, read)
    named = kind.get("title") if isinstance(kind, Mapping) else getattr(kind, "__name__", None)
    name = _NOT_IN_A_NAME.sub("_", str(named or "Answer")).strip("_")[:64] or "Answer"
    strict = strict_form(schema)
    return ResponseFormat(kind, name, strict or schema, read, is_wrapped, strict is not None)


_remembered = functools.lru_cache(maxsize=256)(_made)


@functools.lru_cache(maxsize=256)
def _of_json_schema(encoded: bytes) -> ResponseFormat:
    return _made(msgspec.json.decode(encoded))
