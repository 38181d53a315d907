"""Answers that fit a `response_format`.

They fit the JSON schemas that pydantic, msgspec, attrs and dataclasses make: references, alternatives, enums,
objects, maps, arrays and tuples, with formats, patterns and limits. Conditions (`if`, `not`,
`dependentRequired`) are ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headrace.testing.server.merged_schemas import merge_schemas
from headrace.testing.server.schema_values import number_answer, string_answer

_MANY_VALUES = 1000
"""After this many values, an answer gets only what the schema requires."""

_VARIANTS = 16
"""So many different items of an array have the first of several types, if it has so many values.

Another type may be one that any text or number fits only by its schema: pydantic's decimal is a number or a
string.
"""

_NO_TYPE: Sequence[tuple[str, str]] = [
    ("object", "properties required additionalProperties patternProperties propertyNames"),
    ("array", "items prefixItems minItems maxItems uniqueItems"),
    ("string", "format pattern minLength maxLength contentEncoding"),
    ("number", "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"),
]
"""The type of a schema that names none, by its keywords."""


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
            filler = _Filler(schema, choose, text)
            try:
                value = filler.fill(schema)
            except _NoValueError:
                value = None
            return msgspec.json.encode(value).decode()
        case _:
            return None


class _NoValueError(Exception):
    """No finite value fits: the schema is false, or contains itself."""


class _Filler:
    def __init__(self, root: Mapping[str, Any], choose: Callable[[Sequence[str]], str], text: str) -> None:
        self._root = root
        self._choose = choose
        self._text = text
        self._open_references: list[str] = []
        self._values = 0

    @property
    def _is_large(self) -> bool:
        return self._values > _MANY_VALUES

    def fill(self, schema: Any, variant: int = 0) -> Any:
        """A value for the schema; another variant gives another value if the schema allows one.

        Raises:
            _NoValueError: There is none.
        """
        self._values += 1
        if schema is False:
            raise _NoValueError
        if not isinstance(schema, Mapping):
            return None
        if "$ref" in schema:
            return self._fill_merged([schema], variant)
        if "allOf" in schema:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            return self._fill_merged([rest, *schema["allOf"]], variant)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._fill_enum(schema["enum"], variant)
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                return self._fill_alternatives(schema, name, variant)
        return self._fill_type(schema, variant)

    def _fill_merged(self, schemas: Sequence[Any], variant: int) -> Any:
        """A value for all schemas at once; a reference within itself has none."""
        references = [each["$ref"] for each in schemas if isinstance(each, Mapping) and "$ref" in each]
        if any(reference in self._open_references for reference in references):
            raise _NoValueError
        self._open_references += references
        try:
            return self.fill(merge_schemas(map(self._inlined, schemas)), variant)
        finally:
            del self._open_references[len(self._open_references) - len(references) :]

    def _inlined(self, schema: Any) -> Any:
        """The schema with its reference replaced by what it refers to."""
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        found: Any = self._root
        for name in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            if name:
                name = name.replace("~1", "/").replace("~0", "~")
                found = found.get(name) if isinstance(found, dict) else None
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return merge_schemas([found, beside]) if isinstance(found, dict) else found

    def _fill_enum(self, values: Sequence[Any], variant: int) -> Any:
        named = {str(value): value for value in values}
        chosen = self._choose(list(named))
        names = [chosen, *(name for name in named if name != chosen)]
        return named[names[variant % len(names)]]

    def _fill_alternatives(self, schema: Mapping[str, Any], name: str, variant: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != name}
        turn, inner = divmod(variant, _VARIANTS)
        turn %= len(schema[name])
        alternatives = [*schema[name][turn:], *schema[name][:turn]]
        if self._is_large:
            alternatives.sort(key=lambda each: each != {"type": "null"})
        for each in alternatives:
            try:
                return self.fill(merge_schemas([rest, each]) if isinstance(each, Mapping) else each, inner)
            except _NoValueError:
                continue
        raise _NoValueError

    def _fill_type(self, schema: Mapping[str, Any], variant: int) -> Any:
        kind = schema.get("type") or next(
            (kind for kind, names in _NO_TYPE if not schema.keys().isdisjoint(names.split())), None
        )
        if isinstance(kind, list):
            kind, variant = kind[variant % len(kind)], variant // len(kind)
        match kind:
            case "string":
                return string_answer(schema, self._text, variant)
            case "integer" | "number":
                return number_answer(schema, integer=kind == "integer", variant=variant)
            case "boolean":
                return variant % 2 == 1
            case "array":
                return self._fill_array(schema, variant)
            case "object":
                return self._fill_object(schema, variant)
            case _:
                return None

    def _fill_array(self, schema: Mapping[str, Any], variant: int) -> list[Any]:
        """An array of different items: the schema of a set does not always say that they must differ."""
        found = [self.fill(each, variant) for each in schema.get("prefixItems", ())]
        least, items = schema.get("minItems", 0), schema.get("items", True)
        wanted = least if self._is_large or found or items is True else max(least, 1)
        wanted = min(wanted, schema.get("maxItems", wanted))
        try:
            found += self._different_values(items, variant, wanted - len(found))
        except _NoValueError:
            if len(found) < least:
                raise
        return found

    def _different_values(self, schema: Any, variant: int, number: int) -> list[Any]:
        found: list[Any] = []
        seen: set[bytes] = set()
        attempts = max(number, 0) * 20
        for attempt in range(attempts):
            if len(found) == number:
                break
            value = self.fill(schema, variant + attempt)
            content = msgspec.json.encode(value)
            # The last attempts take what they get: most arrays may repeat an item.
            if content not in seen or attempt >= attempts - number:
                seen.add(content)
                found.append(value)
        return found

    def _fill_object(self, schema: Mapping[str, Any], variant: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        found: dict[str, Any] = {}
        for name, inner in properties.items():
            if name not in required and self._is_large:
                continue
            try:
                found[name] = self.fill(inner, variant)
            except _NoValueError:
                if name in required:
                    raise
        others = schema.get("additionalProperties", True)
        for name in required:
            if name not in found:
                found[name] = self.fill(others, variant)
        self._add_other_properties(schema, found, variant)
        return found

    def _add_other_properties(self, schema: Mapping[str, Any], found: dict[str, Any], variant: int) -> None:
        """Add entries to a map: one, or as many as the schema requires."""
        least, others = schema.get("minProperties", 0), schema.get("additionalProperties", True)
        patterns = schema.get("patternProperties", {})
        is_map = not found and not self._is_large and (isinstance(others, Mapping) or bool(patterns))
        wanted = min(max(least, 1 if is_map else 0), schema.get("maxProperties", least + 1))
        pattern, inner = next(iter(patterns.items()), (None, others))
        names = {"type": "string", **self._inlined(schema.get("propertyNames", {}))}
        if pattern is not None:
            names["pattern"] = pattern
        for attempt in range(wanted * 20):
            if len(found) >= wanted:
                return
            # A number is a name for maps by integers too: their schemas do not say what the names are.
            free = len(names) == 1
            name = str(variant + attempt + 1) if free else str(self.fill(names, variant + attempt))
            try:
                found.setdefault(name, self.fill(inner, variant + attempt))
            except _NoValueError:
                if not least:
                    return
                raise
