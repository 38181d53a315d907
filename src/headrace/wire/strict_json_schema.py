"""Converts JSON schemas to the form that OpenAI's strict mode accepts.

Strict mode makes a model follow a schema while it writes. In a strict schema every property is required, no
others are allowed, each value has a type, and a reference has no other keys beside it. Strict mode does not
support maps, tuples and conditions. Keywords that only narrow a value (``uniqueItems``, an unsupported
``format``) are removed: the answer is checked against the complete type afterwards. The description names the
format instead, so that the model knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_REMOVED = frozenset(
    "default discriminator uniqueItems minProperties maxProperties contains minContains maxContains "
    "propertyNames unevaluatedItems contentEncoding contentMediaType $schema $id $comment".split()
)
_UNSUPPORTED = frozenset(
    "patternProperties prefixItems not if then else dependentRequired dependentSchemas "
    "unevaluatedProperties $dynamicRef".split()
)
_SUPPORTED_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
_ANNOTATIONS = ("title", "description")
_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


class _NotSupportedError(Exception):
    """Strict mode does not support a schema."""


def to_strict_schema(schema: Mapping[str, Any]) -> Schema | None:
    """Return the schema in the form for strict mode, None if strict mode does not support it."""
    try:
        return _convert(schema)
    except _NotSupportedError:
        return None


def _convert(part: Any) -> Schema:
    """Return a part of a schema in the form for strict mode."""
    if not isinstance(part, Mapping) or _UNSUPPORTED & part.keys():
        raise _NotSupportedError
    schema: Schema = {name: value for name, value in part.items() if name not in _REMOVED}
    if schema.get("format", "date") not in _SUPPORTED_FORMATS:
        _describe_format(schema, schema.pop("format"))
    elif "contentEncoding" in part:
        _describe_format(schema, part["contentEncoding"])
    elif part.get("contentMediaType") == "application/json":
        _describe_format(schema, "json")
    for name in ("$defs", "definitions"):
        if name in schema:
            schema[name] = {each: _convert(value) for each, value in schema[name].items()}
    if "allOf" in schema:
        schema = _merge_all_of(schema)
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if "$ref" in schema:
        return _isolate_reference(schema)
    if "anyOf" in schema:
        schema["anyOf"] = [_convert(each) for each in schema["anyOf"]]
    elif "enum" in schema or "const" in schema:
        return _add_type(schema)
    elif "type" not in schema:
        raise _NotSupportedError  # a value of any type
    types = schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    if "object" in types or "properties" in schema:
        _require_all_properties(schema)
    if "array" in types:
        schema["items"] = _convert(schema.get("items"))
    return schema


def _describe_format(schema: Schema, name: object) -> None:
    """Add a format to the description; a binary string is any string."""
    if name != "binary":
        described = schema.get("description")
        schema["description"] = f"{described} Format: {name}." if described else f"Format: {name}."


def _require_all_properties(schema: Schema) -> None:
    """Require all properties of an object, and allow no others."""
    if "properties" not in schema or schema.get("additionalProperties", False) is not False:
        raise _NotSupportedError  # a map
    schema["properties"] = {name: _convert(value) for name, value in schema["properties"].items()}
    schema |= {"required": list(schema["properties"]), "additionalProperties": False}


def _merge_all_of(schema: Schema) -> Schema:
    """Replace an ``allOf`` of one schema, as some libraries write a reference with a description."""
    parts = schema.pop("allOf")
    if len(parts) != 1 or not isinstance(parts[0], Mapping) or schema.keys() - {*_ANNOTATIONS, "$defs"}:
        raise _NotSupportedError
    return {**{name: value for name, value in parts[0].items() if name not in _REMOVED}, **schema}


def _isolate_reference(schema: Schema) -> Schema:
    """Return a reference alone; beside a title or description, as the only alternative of an ``anyOf``."""
    reference = {"$ref": schema["$ref"]}
    beside = {name: schema[name] for name in (*_ANNOTATIONS, "$defs", "definitions") if name in schema}
    return {"anyOf": [reference], **beside} if beside else reference


def _add_type(schema: Schema) -> Schema:
    """Add the type to an ``enum`` or ``const``."""
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    if not all(type(value) in _TYPES for value in values):
        raise _NotSupportedError
    if "type" not in schema:
        types = list(dict.fromkeys(_TYPES[type(value)] for value in values))
        schema["type"] = types[0] if len(types) == 1 else types
    return schema
