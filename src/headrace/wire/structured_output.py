"""Structured output: a request sends the JSON schema of a type, and the answer is checked against the type.

The request uses the strictest mode that the endpoint accepts: ``json_schema``, else ``json_object`` with the
schema in a message, else the message alone.
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
from headrace.wire.json_schema import DECODE_ERRORS, Decode, one_line, schema_of, wrap_in_object
from headrace.wire.strict_json_schema import to_strict_schema

_WHITESPACE = " \t\r\n\ufeff"
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class SchemaMode(enum.IntEnum):
    """The way in which a request asks for JSON, strictest first."""

    JSON_SCHEMA = 0
    JSON_OBJECT = 1
    PROMPT = 2


@attrs.frozen(eq=False)
class ResponseFormat:
    """The type of an answer, with its JSON schema and decoder.

    Attributes:
        kind: The type, or a JSON schema.
        name: Its name, because the API requires one.
        schema: The JSON schema of an object, which is sent.
        is_wrapped: Whether the type is not an object (a Literal, a list), so that it is requested as the
            property ``answer`` of an object.
        is_strict: Whether strict mode supports the type. If not (a map, a tuple), the schema is sent
            unchanged.
    """

    kind: Any
    name: str
    schema: Mapping[str, Any] = attrs.field(repr=False)
    _decode: Decode = attrs.field(repr=False)
    is_wrapped: bool = attrs.field(default=False, repr=False)
    is_strict: bool = attrs.field(default=True, repr=False)
    _json_schema_format: Mapping[str, Any] = attrs.field(init=False, repr=False)
    _system_message: Mapping[str, str] = attrs.field(init=False, repr=False)

    @_json_schema_format.default
    def _make_json_schema_format(self) -> Mapping[str, Any]:
        json_schema = {"name": self.name, "schema": self.schema, "strict": self.is_strict}
        return {"type": "json_schema", "json_schema": json_schema}

    @_system_message.default
    def _make_system_message(self) -> Mapping[str, str]:
        schema = msgspec.json.encode(self.schema).decode()
        return {
            "role": "system",
            "content": f"Answer with one JSON object that fits this JSON schema, and nothing else: {schema}",
        }

    def __reduce__(self) -> Any:
        # A decoder cannot be pickled, so the other process makes its own.
        return response_format_for, (self.kind,)

    @property
    def choices(self) -> Sequence[str]:
        """The strings of which the answer must be one; empty if other answers are allowed."""
        inner = self.schema["properties"].get("answer", {}) if self.is_wrapped else {}
        if "$ref" in inner:
            inner = self.schema["$defs"].get(inner["$ref"].removeprefix("#/$defs/"), {})
        choices = inner.get("enum", ())
        return choices if all(isinstance(choice, str) for choice in choices) else ()

    def is_requested_by(self, body: Mapping[str, Any]) -> bool:
        """Return whether a body requests this format by its schema."""
        requested = body.get("response_format")
        return requested is self._json_schema_format or requested == self._json_schema_format

    def apply_to(self, body: Mapping[str, Any], mode: SchemaMode = SchemaMode.JSON_SCHEMA) -> dict[str, Any]:
        """Return a chat body that requests this format in this mode, and in no other."""
        body = {name: value for name, value in body.items() if name != "response_format"}
        messages = [message for message in body["messages"] if message != self._system_message]
        if mode is SchemaMode.JSON_SCHEMA:
            body["response_format"] = self._json_schema_format
        else:
            messages.insert(0, self._system_message)
            if mode is SchemaMode.JSON_OBJECT:
                body["response_format"] = {"type": "json_object"}
        return body | {"messages": messages}

    def parse(self, text: str) -> Any:
        """Return the answer in a text; raise `AnswerError` with the reason if there is none.

        Models put words, a code fence or their reasoning around the JSON, and leave out the object around a
        single value.
        """
        text = text.strip(_WHITESPACE)
        try:
            return self._decode(text.encode())
        except DECODE_ERRORS as error:
            found = list(self._find_answers(text))
            if len(found) == 1:
                return found[0]
            start = text if len(text) <= 80 else text[:79] + "…"
            what = f"holds {len(found)} of {self.name}" if found else f"is not {self.name}"
            raise AnswerError(f"the answer {start!r} {what}: {one_line(error)}") from error

    def _find_answers(self, text: str) -> Iterator[Any]:
        """Yield the different answers in a text."""
        seen: set[bytes] = set()
        for content in self._candidates(text):
            try:
                value = self._decode(content)
            except DECODE_ERRORS:
                continue
            if content not in seen:
                seen.add(content)
                yield value

    def _candidates(self, text: str) -> Iterator[bytes]:
        """Yield the parts of a text that may be the answer, as JSON."""
        text = text.rpartition("</think>")[2]  # some prompts begin the block, so there is no <think>
        yield from json_objects(text)
        if self.choices:
            choice = match_choice(self.choices, text)
            if choice is not None:
                yield msgspec.json.encode({"answer": choice})
        elif self.is_wrapped:
            value = unfenced(text)
            if value[:1] != '"':  # any text could be a string
                yield b'{"answer":%b}' % value.encode("utf-8", "replace")


def response_format_for(kind: Any) -> ResponseFormat:
    """Return the format for a type or a JSON schema; raise `RequestError` for an unsupported one."""
    if isinstance(kind, ResponseFormat):
        return kind
    # Cached, because making a schema and a decoder takes longer than the rest of a call.
    if isinstance(kind, Mapping):
        return _from_json_schema(msgspec.json.encode(kind))
    return _cached_format(kind) if isinstance(kind, Hashable) else _make_format(kind)


def _make_format(kind: Any) -> ResponseFormat:
    schema, decode = schema_of(kind)
    is_wrapped = schema.get("type") != "object" or "properties" not in schema
    if is_wrapped:
        schema, decode = wrap_in_object(kind, schema, decode)
    title = kind.get("title") if isinstance(kind, Mapping) else getattr(kind, "__name__", None)
    name = _NOT_IN_A_NAME.sub("_", str(title or "Answer")).strip("_")[:64] or "Answer"
    strict = to_strict_schema(schema)
    return ResponseFormat(kind, name, strict or schema, decode, is_wrapped, strict is not None)


_cached_format = functools.lru_cache(maxsize=256)(_make_format)


@functools.lru_cache(maxsize=256)
def _from_json_schema(content: bytes) -> ResponseFormat:
    return _make_format(msgspec.json.decode(content))
