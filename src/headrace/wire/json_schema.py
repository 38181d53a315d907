"""From a type, or from a JSON schema, to what is sent of it, and to what reads JSON of that kind.

Types are msgspec's (attrs classes, dataclasses, Structs, TypedDicts, Literals, Enums, lists of these) and
pydantic's models, whose own validation is used. A JSON schema (a mapping) is checked by ``jsonschema``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, get_args

import msgspec

from headrace._support.text import printable
from headrace.errors import RequestError

Schema: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[bytes], Any]
"""Reads JSON; raises `ValueError` for what is none, or of another kind."""

NOT_READ = (ValueError, RecursionError)
"""What a `Read` raises: msgspec's, pydantic's and decoding's errors are of the former."""


class _Holder(msgspec.Struct):
    answer: msgspec.Raw


_read_holder = msgspec.json.Decoder(_Holder).decode


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
        adapted = _adapted(kind)
        if adapted is not None:
            return adapted
        raise RequestError(
            f"answer={kind!r} is not a type that an answer can have ({one_line(error)}); use a dataclass, "
            "an attrs class, a msgspec.Struct, a pydantic model, a Literal, an Enum or a JSON schema"
        ) from error


def _adapted(kind: Any) -> tuple[Schema, Read] | None:
    """The same by pydantic, for a list of its models and the like; None for any other kind."""
    if not _holds_model(kind):
        return None
    adapter = sys.modules["pydantic"].TypeAdapter(kind)
    return root(adapter.json_schema()), adapter.validate_json


def _holds_model(kind: Any) -> bool:
    return is_pydantic(kind) or any(_holds_model(each) for each in get_args(kind))


def wrapped(kind: Any, schema: Schema, read: Read) -> tuple[Schema, Read]:
    """A kind that is not an object as the property ``answer`` of one, and what reads the kind out of that."""
    if isinstance(kind, Mapping):
        holder, read_whole = _of_json_schema(_holding(_moved(schema, "#/properties/answer")))
        return holder, lambda content: read_whole(content)["answer"]
    try:
        struct: Any = msgspec.defstruct("Answer", [("answer", kind)])
        read_struct = msgspec.json.Decoder(struct).decode
        return root(msgspec.json.schema(struct)), lambda content: read_struct(content).answer
    except (TypeError, RuntimeError, NameError):  # pydantic's
        return _holding(schema), lambda content: read(bytes(_read_holder(content).answer))


def _holding(schema: Schema) -> Schema:
    """An object whose one property is of a schema."""
    inner = {name: value for name, value in schema.items() if name != "$defs"}
    holder = {"type": "object", "properties": {"answer": inner}, "required": ["answer"]}
    return holder | {"$defs": schema["$defs"]} if "$defs" in schema else holder


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at another place than the root, its references into itself with it."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: _moved(value, place) for name, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference[:1] == "#" and not reference.startswith("#/$defs/"):
        moved["$ref"] = place + reference[1:]
    return moved


def is_pydantic(kind: Any) -> bool:
    """True for a pydantic model."""
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def root(schema: Mapping[str, Any]) -> Schema:
    """A schema whose root is not a reference, as the API wants it."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return dict(schema)
    definitions = schema["$defs"]
    beside = {name: value for name, value in schema.items() if name not in {"$ref", "$defs"}}
    found: Schema = definitions[reference.removeprefix("#/$defs/")] | beside
    return found | {"$defs": definitions} if len(definitions) > 1 or reference in repr(found) else found


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
