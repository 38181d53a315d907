"""Adds the formats of times to the JSON schemas that msgspec makes.

msgspec leaves out the format of a ``datetime`` or ``time``, because the type allows a time zone and none.
Without it, a model cannot know that the string must be a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import inspect

Schema: TypeAlias = dict[str, Any]

_FORMATS: Mapping[type[inspect.Type], str] = {inspect.DateTimeType: "date-time", inspect.TimeType: "time"}
_CLASSES = (inspect.StructType, inspect.TypedDictType, inspect.NamedTupleType, inspect.DataclassType)
_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


def add_time_formats(schema: Schema, kind: Any) -> None:
    """Add the formats to msgspec's schema of a type, in place."""
    _add(schema, inspect.type_info(kind), schema.get("$defs", {}), set())


def _add(part: Any, info: inspect.Type, definitions: Mapping[str, Schema], seen: set[str]) -> None:
    """Add the formats to a part of the schema; ``seen`` holds the names of definitions that are done."""
    name = _definition_name(part)
    if name is not None:
        if name in seen:
            return
        seen.add(name)
        part = definitions[name]
    if isinstance(info, inspect.Metadata):
        _add(part, info.type, definitions, seen)
    elif type(info) in _FORMATS:
        part.setdefault("format", _FORMATS[type(info)])
    elif isinstance(info, inspect.UnionType):
        for alternative in part.get("anyOf", [part]):
            for each in info.types:
                if _is_schema_of(alternative, each, definitions):
                    _add(alternative, each, definitions, seen)
    else:
        for inner, each in _members(part, info):
            if isinstance(inner, dict):
                _add(inner, each, definitions, seen)


def _members(part: Schema, info: inspect.Type) -> Iterator[tuple[Any, inspect.Type]]:
    """Yield the schemas in a schema, each with its type."""
    if isinstance(info, _CLASSES):
        if "properties" in part:
            for field in info.fields:
                yield part["properties"].get(getattr(field, "encode_name", field.name)), field.type
        elif info.fields:  # an array, which may begin with a tag
            types = [field.type for field in info.fields]
            yield from zip(part.get("prefixItems", [])[-len(types) :], types, strict=False)
    elif isinstance(info, _LISTS):
        yield part.get("items"), info.item_type
    elif isinstance(info, inspect.TupleType):
        yield from zip(part.get("prefixItems", []), info.item_types, strict=False)
    elif isinstance(info, inspect.DictType):
        yield part.get("additionalProperties"), info.value_type


def _is_schema_of(part: Schema, info: inspect.Type, definitions: Mapping[str, Schema]) -> bool:
    """Return whether an alternative is the one of this type. No two of them are strings, lists or maps."""
    if isinstance(info, inspect.Metadata):
        return _is_schema_of(part, info.type, definitions)
    if isinstance(info, _CLASSES):
        name = _definition_name(part)
        return name is not None and str(definitions[name].get("title")).startswith(info.cls.__name__)
    if type(info) in _FORMATS:
        return part.get("type") == "string"
    if isinstance(info, inspect.DictType):
        return part.get("type") == "object"
    return isinstance(info, (*_LISTS, inspect.TupleType)) and part.get("type") == "array"


def _definition_name(part: Any) -> str | None:
    reference = part.get("$ref") if isinstance(part, dict) else None
    return None if reference is None else str(reference).removeprefix("#/$defs/")
