"""Answers of a type: its JSON schema goes out with the request, and what comes back is checked against it.

An endpoint is asked in the strictest way that it takes: ``json_schema``, else ``json_object`` with the schema
in a message, else with the message alone.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Hashable, Mapping
from typing import Any

import attrs
import msgspec

from headrace.errors import AnswerError
from headrace.schemas import NOT_READ, Read, one_line, schema_of, strict, wrapped

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class Asking(enum.IntEnum):
    """How an endpoint is asked for JSON, the strictest way first."""

    BY_SCHEMA = 0
    FOR_AN_OBJECT = 1
    IN_WORDS = 2


@attrs.frozen(eq=False)
class AnswerFormat:
    """What an answer is to be: ``kind``, the JSON ``schema`` of an object, and how such an object is read.

    A kind that is no object (a Literal, a list) is asked for as the one property of one.
    """

    kind: Any
    name: str
    schema: Mapping[str, Any] = attrs.field(repr=False)
    _read: Read = attrs.field(repr=False)
    _by_schema: Mapping[str, Any] = attrs.field(init=False, repr=False)
    _told: Mapping[str, str] = attrs.field(init=False, repr=False)

    @_by_schema.default
    def _describe(self) -> Mapping[str, Any]:
        described = {"name": self.name, "schema": self.schema, "strict": True}
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
        return answer_format, (self.kind,)

    def asks(self, body: Mapping[str, Any]) -> bool:
        """True for a body that asks for this answer by its schema."""
        asked = body.get("response_format")
        return asked is self._by_schema or asked == self._by_schema

    def asked_for(self, body: Mapping[str, Any], how: Asking = Asking.BY_SCHEMA) -> dict[str, Any]:
        """A chat body that asks for such an answer, however it asked before."""
        body = {name: value for name, value in body.items() if name != "response_format"}
        messages = [message for message in body["messages"] if message != self._told]
        if how is Asking.BY_SCHEMA:
            body["response_format"] = self._by_schema
        else:
            messages.insert(0, self._told)
            if how is Asking.FOR_AN_OBJECT:
                body["response_format"] = {"type": "json_object"}
        return body | {"messages": messages}

    def read(self, text: str) -> Any:
        """The answer that a text holds; raises `AnswerError` saying what is wrong with it."""
        fenced = _FENCE.match(text)  # models put it around JSON, told not to
        try:
            return self._read((fenced[1] if fenced else text).encode())
        except NOT_READ as error:
            said = text if len(text) <= 80 else text[:79] + "…"
            raise AnswerError(f"the answer {said!r} is no {self.name}: {one_line(error)}") from error


def answer_format(kind: Any) -> AnswerFormat:
    """The format for a type or a JSON schema; raises `RequestError` for one that no answer can have."""
    if isinstance(kind, AnswerFormat):
        return kind
    # Remembered: to make a schema and a decoder takes longer than all the rest of a call.
    if isinstance(kind, Mapping):
        return _of_json_schema(msgspec.json.encode(kind))
    return _remembered(kind) if isinstance(kind, Hashable) else _made(kind)


def _made(kind: Any) -> AnswerFormat:
    schema, read = schema_of(kind)
    if schema.get("type") != "object" or "properties" not in schema:
        schema, read = wrapped(kind, schema)
    named = kind.get("title") if isinstance(kind, Mapping) else getattr(kind, "__name__", None)
    name = _NOT_IN_A_NAME.sub("_", str(named or "Answer")).strip("_")[:64] or "Answer"
    return AnswerFormat(kind, name, strict(schema), read)


_remembered = functools.lru_cache(maxsize=256)(_made)


@functools.lru_cache(maxsize=256)
def _of_json_schema(encoded: bytes) -> AnswerFormat:
    return _made(msgspec.json.decode(encoded))
