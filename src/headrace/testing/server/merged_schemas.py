"""Merges JSON schemas that a value must fit at once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_STRICTER: Mapping[str, Callable[[Any, Any], Any]] = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
    "required": lambda one, other: [*one, *(name for name in other if name not in one)],
    "enum": lambda one, other: [value for value in one if value in other],
    "properties": lambda one, other: _merge_properties(one, other),
    "$defs": lambda one, other: {**one, **other},
    "type": lambda one, other: _common_type(one, other),
}


def merge_schemas(schemas: Iterable[Any]) -> dict[str, Any]:
    """One schema for all of them; of two values of a keyword, the stricter or else the last one."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        if not isinstance(schema, Mapping):
            continue
        for name, value in schema.items():
            stricter = _STRICTER.get(name) if name in merged else None
            merged[name] = value if stricter is None else stricter(merged[name], value)
    return merged


def _merge_properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
    return {**one, **other, **both}


def _common_type(one: Any, other: Any) -> Any:
    """The type that both allow; an integer is a number."""
    types = [one] if isinstance(one, str) else one
    others = [other] if isinstance(other, str) else other
    common = [kind for kind in types if kind in others or (kind == "integer" and "number" in others)]
    common += [kind for kind in others if kind == "integer" and "number" in types and kind not in common]
    return common[0] if len(common) == 1 else common or other
