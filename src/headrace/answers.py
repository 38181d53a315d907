"""Answers of a type: its JSON schema goes out with the request, and what comes back is checked against it.

Types are msgspec's (attrs classes, dataclasses, Structs, TypedDicts, Literals, Enums, lists of these) and
pydantic's models, whose own validation is used. An endpoint is asked in the strictest way that it takes:
``json_schema``, else ``json_object`` with the schema in a message, else with the message alone.
"""

from __future__ import annotations

import enum
import functools
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import attrs
import msgspec

from headrace.errors import AnswerError, RequestError

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
    _decode: Callable[[bytes], Any] = attrs.field(repr=False)
    _told: Mapping[str, str] = attrs.field(init=False, repr=False)

    @_told.default
    def _tell(self) -> Mapping[str, str]:
        schema = msgspec.json.encode(self.schema).decode()
        return {
            "role": "system",
            "content": f"Answer with one JSON object that fits this JSON schema, and nothing else: {schema}",
        }

    def asked_for(self, body: Mapping[str, Any], how: Asking) -> dict[str, Any]:
        """A chat body that asks for such an answer, however it asked before."""
        body = {name: value for name, value in body.items() if name != "response_format"}
        messages = [message for message in body["messages"] if message != self._told]
        if how is Asking.BY_SCHEMA:
            described = {"name": self.name, "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        else:
            messages.insert(0, self._told)
            if how is Asking.FOR_AN_OBJECT:
                body["response_format"] = {"type": "json_object"}
        return body | {"messages": messages}

    def read(self, text: str) -> Any:
        """The answer that a text holds; raises `AnswerError` saying what is wrong with it."""
        fenced = _FENCE.match(text)  # models put it around JSON, told not to
        try:
            return self._decode((fenced[1] if fenced else text).encode())
        except (ValueError, RecursionError) as error:  # of msgspec, pydantic and encoding alike
            said = text if len(text) <= 80 else text[:79] + "…"
            raise AnswerError(f"the answer {said!r} is no {self.name}: {_one_line(error)}") from error


def answer_format(kind: Any) -> AnswerFormat:
    """The format for a type; raises `RequestError` for one that JSON cannot say, or nobody can check."""
    # Remembered: to make a schema and a decoder takes longer than all the rest of a call.
    return _remembered(kind) if isinstance(kind, Hashable) else _made(kind)


def _made(kind: Any) -> AnswerFormat:
    if _is_pydantic(kind):
        schema, decode = kind.model_json_schema(), kind.model_validate_json
        if schema.get("type") != "object":
            raise RequestError(f"answer={kind!r} is no object; use a pydantic model with fields")
    else:
        try:
            schema, decode = msgspec.json.schema(kind), msgspec.json.Decoder(kind).decode
        except (TypeError, RuntimeError, NameError) as error:
            raise RequestError(
                f"answer={kind!r} is no type that an answer can have ({_one_line(error)}); "
                "use a dataclass, an attrs class, a msgspec.Struct, a pydantic model, a Literal or an Enum"
            ) from error
    name = _NOT_IN_A_NAME.sub("_", getattr(kind, "__name__", None) or "Answer").strip("_")[:64] or "Answer"
    schema = _root(schema)
    if schema.get("type") != "object" or "properties" not in schema:
        holder: Any = msgspec.defstruct("Answer", [("answer", kind)])
        schema, inner = _root(msgspec.json.schema(holder)), msgspec.json.Decoder(holder).decode
        return AnswerFormat(kind, name, _strict(schema), lambda content: inner(content).answer)
    return AnswerFormat(kind, name, _strict(schema), decode)


_remembered = functools.lru_cache(maxsize=256)(_made)


def _is_pydantic(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose root is no reference, as ``response_format`` wants it."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return dict(schema)
    definitions = schema["$defs"]
    root = dict(definitions[reference.removeprefix("#/$defs/")])
    return root | {"$defs": definitions} if len(definitions) > 1 or reference in repr(root) else root


def _strict(schema: Any) -> Any:
    """What OpenAI's strict mode wants: every property required, none besides, no defaults."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    strict = {
        name: {key: _strict(each) for key, each in value.items()}
        if name in {"properties", "$defs"}
        else _strict(value)
        for name, value in schema.items()
        if name != "default"
    }
    if "properties" in strict:
        strict |= {"required": list(strict["properties"]), "additionalProperties": False}
    return strict


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
