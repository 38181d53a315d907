"""Answers that fit a `response_format`, for a few keywords of JSON Schema.

It supports `enum`, `const`, `$ref` within the schema, `anyOf`, `oneOf` and `allOf` (the first alternative),
`type`, `properties` and `items`. It ignores patterns and limits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

# Enough for real schemas. A schema that refers to itself needs a limit.
_MAX_DEPTH = 16


def structured_answer(
    response_format: Mapping[str, Any] | None, choose: Callable[[Sequence[str]], str], text: str
) -> str | None:
    """JSON that fits the response format, or None if the format is plain text.

    Args:
        response_format: The member of the request.
        choose: Picks one of the choices of an `enum`.
        text: The value of strings that are not restricted.
    """
    match response_format:
        case {"type": "json_object"}:
            return msgspec.json.encode({"answer": text}).decode()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return msgspec.json.encode(_Filler(schema, choose, text).fill(schema)).decode()
        case _:
            return None


class _Filler:
    def __init__(self, root: Mapping[str, Any], choose: Callable[[Sequence[str]], str], text: str) -> None:
        self._root = root
        self._choose = choose
        self._text = text

    def fill(self, schema: Any, depth: int = 0) -> Any:
        """A value for the schema; None for an invalid schema or one that is nested too deeply."""
        if depth > _MAX_DEPTH:
            return None
        match schema:
            case {"const": value}:
                return value
            case {"enum": [_, *_] as values}:
                named = {str(value): value for value in values}
                return named[self._choose(list(named))]
            case {"$ref": str(reference)}:
                return self.fill(self._resolve(reference), depth + 1)
            case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
                return self.fill(first, depth + 1)
            case {"properties": dict(properties)}:
                return {name: self.fill(inner, depth + 1) for name, inner in properties.items()}
            case {"type": [kind, *_]} | {"type": kind}:
                return self._fill_type(kind, schema, depth)
            case _:
                return None

    def _fill_type(self, kind: Any, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "string":
                return self._text
            case "integer" | "number":
                return 0
            case "boolean":
                return False
            case "array":
                return [self.fill(schema["items"], depth + 1)] if "items" in schema else []
            case "object":
                return {}
            case _:
                return None

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name:
                found = found.get(name) if isinstance(found, dict) else None
        return found
