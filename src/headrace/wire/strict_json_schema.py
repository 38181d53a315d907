"""JSON schemas in the form that OpenAI's strict mode takes, for those that it can say.

Strict mode holds a model to a schema while it writes. It wants every property required and none besides, the
type of each value, and a reference alone in its place; it knows no maps, no tuples and no conditions. What
only narrows a value (``uniqueItems``, a ``format`` that it does not know) is left out: the answer is checked
against the whole type when it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_LEFT_OUT = frozenset(
    "default discriminator uniqueItems minProperties maxProperties contains minContains maxContains "
    "propertyNames unevaluatedItems contentEncoding contentMediaType $schema $id $comment".split()
)
_UNKNOWN = frozenset(
    "patternProperties prefixItems not if then else dependentRequired dependentSchemas "
    "unevaluatedProperties $dynamicRef".split()
)
_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
_NOTES = ("title", "description")
_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


class _NotSaid(Exception):
    """Strict mode has no words for a schema."""


def strict_form(schema: Mapping[str, Any]) -> Schema | None:
    """The schema as strict mode takes it, None where it has no words for it."""
    try:
        return _strict(schema)
    except _NotSaid:
        return None


def _strict(given: Any) -> Schema:
    if not isinstance(given, Mapping) or _UNKNOWN & given.keys():
        raise _NotSaid
    schema: Schema = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    if schema.get("format", "date") not in _FORMATS:
        del schema["format"]
    for name in ("$defs", "definitions"):
        if name in schema:
            schema[name] = {each: _strict(value) for each, value in schema[name].items()}
    if "allOf" in schema:
        schema = _merged(schema)
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if "$ref" in schema:
        return _reference(schema)
    if "anyOf" in schema:
        schema["anyOf"] = [_strict(each) for each in schema["anyOf"]]
    elif "enum" in schema or "const" in schema:
        return _typed(schema)
    elif "type" not in schema:
        raise _NotSaid  # anything
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "object" in kinds or "properties" in schema:
        _close(schema)
    if "array" in kinds:
        schema["items"] = _strict(schema.get("items"))
    return schema


def _close(schema: Schema) -> None:
    """Allow an object its own properties only, and want all of them."""
    if "properties" not in schema or schema.get("additionalProperties", False) is not False:
        raise _NotSaid  # a map
    schema["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
    schema |= {"required": list(schema["properties"]), "additionalProperties": False}


def _merged(schema: Schema) -> Schema:
    """A schema without its ``allOf`` of one, as some write a reference with a description."""
    parts = schema.pop("allOf")
    if len(parts) != 1 or not isinstance(parts[0], Mapping) or schema.keys() - {*_NOTES, "$defs"}:
        raise _NotSaid
    return {**{name: value for name, value in parts[0].items() if name not in _LEFT_OUT}, **schema}


def _reference(schema: Schema) -> Schema:
    """A reference alone, or with a title or description as the one alternative beside these."""
    reference = {"$ref": schema["$ref"]}
    beside = {name: schema[name] for name in (*_NOTES, "$defs", "definitions") if name in schema}
    return {"anyOf": [reference], **beside} if beside else reference


def _typed(schema: Schema) -> Schema:
    """Values to choose from, with their types."""
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    if not all(type(value) in _TYPES for value in values):
        raise _NotSaid
    if "type" not in schema:
        kinds = list(dict.fromkeys(_TYPES[type(value)] for value in values))
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    return schema
