"""From a type, or from a JSON schema, to what is sent of it, and to what reads JSON of that kind.

Types are msgspec's (attrs classes, dataclasses, Structs, TypedDicts, Literals, Enums, lists of these) and
pydantic's models, whose own validation is used. A JSON schema (a mapping) is checked by ``jsonschema``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from headrace.errors import RequestError
from headrace.reply import printable

Schema: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[bytes], Any]
"""Reads JSON; raises `ValueError` for what is none, or of another kind."""

NOT_READ = (ValueError, RecursionError)
"""What a `Read` raises: msgspec's, pydantic's and decoding's errors are of the former."""


def schema_of(kind: Any) -> tuple[Schema, Read]:
    """The JSON schema of a kind and what reads it.

    Raises `RequestError` for a type that JSON cannot say, or nobody can check, and for a bad schema.
    """
    if isinstance(kind, Mapping):
        return _of_json_schema(kind)
    if is_pydantic(kind):
        return root(kind.model_json_schema()), kind.model_validate_json
    try:
        return root(msgspec.json.schema(kind)), msgspec.json.Decoder(kind).decode
    except (TypeError, RuntimeError, NameError) as error:
        raise RequestError(
            f"answer={kind!r} is no type that an answer can have ({one_line(error)}); use a dataclass, "
            "an attrs class, a msgspec.Struct, a pydantic model, a Literal, an Enum or a JSON schema"
        ) from error


def wrapped(kind: Any, schema: Schema) -> tuple[Schema, Read]:
    """A kind that is no object as the property ``answer`` of one, and what reads the kind out of that."""
    read: Read
    if isinstance(kind, Mapping) or is_pydantic(kind):
        inner = {name: value for name, value in schema.items() if name != "$defs"}
        holder = {"type": "object", "properties": {"answer": inner}, "required": ["answer"]}
        if "$defs" in schema:
            holder["$defs"] = schema["$defs"]
        if isinstance(kind, Mapping):
            holder, read = _of_json_schema(holder)
            return holder, lambda content: read(content)["answer"]
        return holder, lambda content: kind.model_validate(msgspec.json.decode(content)["answer"])
    struct: Any = msgspec.defstruct("Answer", [("answer", kind)])
    read = msgspec.json.Decoder(struct).decode
    return root(msgspec.json.schema(struct)), lambda content: read(content).answer


def is_pydantic(kind: Any) -> bool:
    """True for a pydantic model."""
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def root(schema: Mapping[str, Any]) -> Schema:
    """A schema whose root is no reference, as the API wants it."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return dict(schema)
    definitions = schema["$defs"]
    found = dict(definitions[reference.removeprefix("#/$defs/")])
    return found | {"$defs": definitions} if len(definitions) > 1 or reference in repr(found) else found


def strict(schema: Any) -> Any:
    """What OpenAI's strict mode wants: every property required, none besides, no defaults."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {
        name: {key: strict(each) for key, each in value.items()}
        if name in {"properties", "$defs"}
        else strict(value)
        for name, value in schema.items()
        if name != "default"
    }
    if "properties" in result:
        result |= {"required": list(result["properties"]), "additionalProperties": False}
    return result


def one_line(error: object) -> str:
    """What an error says, on one line and not too long."""
    return printable(" ".join(str(error).split())[:300])


def _of_json_schema(schema: Mapping[str, Any]) -> tuple[Schema, Read]:
    try:
        import jsonschema  # only for those who have a schema
        import referencing
        from jsonschema.validators import validator_for
        from referencing.jsonschema import DRAFT202012
    except ImportError as error:
        raise RequestError("a JSON schema is checked by jsonschema: pip install jsonschema") from error
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise RequestError(
            f"the JSON schema answer= is wrong at {error.json_path}: {one_line(error.message)}"
        ) from None
    # An empty registry: jsonschema would fetch what a schema refers to elsewhere.
    resource = DRAFT202012.create_resource(schema)
    resolver = referencing.Registry().with_resource("", resource).resolver()
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except referencing.exceptions.Unresolvable:
            raise RequestError(
                f"the JSON schema answer= refers to {reference!r}, which is not in it; put it into its $defs"
            ) from None
    validator = kind(schema, registry=referencing.Registry())

    def read(content: bytes) -> Any:
        value = msgspec.json.decode(content)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            raise ValueError(f"{error.message} - at `{error.json_path}`")
        return value

    return dict(schema), read


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each)
    elif isinstance(schema, Mapping):
        for name, value in schema.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
