"""Makes a JSON schema and a decoder of a type.

The types are those that msgspec supports (attrs classes, dataclasses, Structs, TypedDicts, Literals, Enums,
lists of these), pydantic's models, which validate by themselves, and JSON schemas (mappings), which
``jsonschema`` checks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, get_args

import msgspec

from headrace._support.text import printable
from headrace.errors import RequestError

Schema: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[bytes], Any]
"""Decodes JSON; raises one of `DECODE_ERRORS` for invalid JSON or JSON of another type."""

DECODE_ERRORS = (ValueError, RecursionError)
"""The errors of a `Decode`: those of msgspec, pydantic and bytes.decode are ValueErrors."""


class _Wrapper(msgspec.Struct):
    answer: msgspec.Raw


_decode_wrapper = msgspec.json.Decoder(_Wrapper).decode


def schema_of(kind: Any) -> tuple[Schema, Decode]:
    """Return the JSON schema of a type or schema, and a decoder for it.

    Raises `RequestError` for a type that has no JSON schema, and for an invalid schema.
    """
    if isinstance(kind, Mapping):
        return _from_json_schema(kind)
    if is_pydantic(kind):
        return inline_root(kind.model_json_schema()), kind.model_validate_json
    try:
        return _schema_by_msgspec(kind), msgspec.json.Decoder(kind).decode
    except (TypeError, RuntimeError, NameError) as error:
        by_pydantic = _by_pydantic(kind)
        if by_pydantic is not None:
            return by_pydantic
        raise RequestError(
            f"answer={kind!r} is not a valid type of an answer ({one_line(error)}); use a dataclass, "
            "an attrs class, a msgspec.Struct, a pydantic model, a Literal, an Enum or a JSON schema"
        ) from error


def _schema_by_msgspec(kind: Any) -> Schema:
    """Return msgspec's schema of a type, with the formats that it leaves out."""
    from headrace.wire.time_formats import add_time_formats  # few programs need msgspec.inspect

    schema = msgspec.json.schema(kind)
    add_time_formats(schema, kind)
    return inline_root(schema)


def _by_pydantic(kind: Any) -> tuple[Schema, Decode] | None:
    """Return the schema and decoder by pydantic for a type that contains its models; None for other types."""
    if not _contains_model(kind):
        return None
    adapter = sys.modules["pydantic"].TypeAdapter(kind)
    return inline_root(adapter.json_schema()), adapter.validate_json


def _contains_model(kind: Any) -> bool:
    return is_pydantic(kind) or any(_contains_model(each) for each in get_args(kind))


def wrap_in_object(kind: Any, schema: Schema, decode: Decode) -> tuple[Schema, Decode]:
    """Return the schema of an object whose property ``answer`` has this type, and the property's decoder."""
    if isinstance(kind, Mapping):
        wrapper, decode_wrapper = _from_json_schema(_wrap(_move_references(schema, "#/properties/answer")))
        return wrapper, lambda content: decode_wrapper(content)["answer"]
    try:
        struct: Any = msgspec.defstruct("Answer", [("answer", kind)])
        decode_struct = msgspec.json.Decoder(struct).decode
        return _schema_by_msgspec(struct), lambda content: decode_struct(content).answer
    except (TypeError, RuntimeError, NameError):  # a type of pydantic
        return _wrap(schema), lambda content: decode(bytes(_decode_wrapper(content).answer))


def _wrap(schema: Schema) -> Schema:
    """Return the schema of an object with the property ``answer``."""
    inner = {name: value for name, value in schema.items() if name != "$defs"}
    wrapper = {"type": "object", "properties": {"answer": inner}, "required": ["answer"]}
    return wrapper | {"$defs": schema["$defs"]} if "$defs" in schema else wrapper


def _move_references(schema: Any, place: str) -> Any:
    """Return a schema whose references fit its new place, which is not the root."""
    if isinstance(schema, list):
        return [_move_references(each, place) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: _move_references(value, place) for name, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference[:1] == "#" and not reference.startswith("#/$defs/"):
        moved["$ref"] = place + reference[1:]
    return moved


def is_pydantic(kind: Any) -> bool:
    """Return whether a type is a pydantic model."""
    pydantic = sys.modules.get("pydantic")  # imported already if there is a model
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def inline_root(schema: Mapping[str, Any]) -> Schema:
    """Return the schema with a root that is not a reference, as the API requires."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return dict(schema)
    definitions = schema["$defs"]
    beside = {name: value for name, value in schema.items() if name not in {"$ref", "$defs"}}
    found: Schema = definitions[reference.removeprefix("#/$defs/")] | beside
    return found | {"$defs": definitions} if len(definitions) > 1 or reference in repr(found) else found


def one_line(error: object) -> str:
    """Return an error's message on one line, shortened to 300 characters."""
    return printable(" ".join(str(error).split())[:300])


def _from_json_schema(schema: Mapping[str, Any]) -> tuple[Schema, Decode]:
    try:
        import jsonschema  # imported only if a schema is used
        import referencing
        from jsonschema.validators import validator_for
        from referencing.jsonschema import DRAFT202012
    except ImportError as error:
        raise RequestError(
            "answer= is a JSON schema, which needs jsonschema: pip install jsonschema"
        ) from error
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise RequestError(
            f"the JSON schema answer= is wrong at {error.json_path}: {one_line(error.message)}"
        ) from None
    # With an empty registry, jsonschema does not fetch schemas from elsewhere.
    resource = DRAFT202012.create_resource(schema)
    resolver = referencing.Registry().with_resource("", resource).resolver()
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except referencing.exceptions.Unresolvable:
            raise RequestError(
                f"the JSON schema answer= refers to {reference!r}, which it does not contain; add it to $defs"
            ) from None
    validator = kind(schema, registry=referencing.Registry())

    def decode(content: bytes) -> Any:
        value = msgspec.json.decode(content)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            raise ValueError(f"{error.message} - at `{error.json_path}`")
        return value

    return dict(schema), decode


def _references(schema: Any) -> Iterator[str]:
    """Yield all references in a schema."""
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each)
    elif isinstance(schema, Mapping):
        for name, value in schema.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
