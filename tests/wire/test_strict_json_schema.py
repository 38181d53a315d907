"""Schemas are sent in the form for strict mode if it supports the type, else unchanged."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import attrs
import jsonschema
import msgspec
import pydantic
import pytest

from headrace import AnswerError, Tools
from headrace.testing import FakeEndpoint
from headrace.wire.strict_json_schema import to_strict_schema
from headrace.wire.structured_output import response_format_for


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct):
    a: int


class Described(msgspec.Struct):
    inner: Annotated[Inner, msgspec.Meta(description="the inner one")]
    colour: Annotated[Colour, msgspec.Meta(description="of the outside")]
    maybe: Inner | None = None
    number: Annotated[int, msgspec.Meta(ge=1, description="how many")] = 5
    word: Literal["a", "b"] = "a"
    mixed: Literal["a", 1, None] = None
    when: datetime.datetime | None = None


class Empty(msgspec.Struct):
    pass


class Node(msgspec.Struct):
    name: str
    children: list[Node]
    parent: Annotated[Optional[Node], msgspec.Meta(description="above")] = None  # noqa: UP045


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


@attrs.define
class Pets:
    pet: Cat | Dog


@dataclasses.dataclass
class Plain:
    inner: Inner
    words: list[str]


class Model(pydantic.BaseModel):
    """A model."""

    kind: Literal["model"]
    text: str = pydantic.Field(description="what it says", min_length=1, default="x")


class Other(pydantic.BaseModel):
    kind: Literal["other"]
    colour: Colour = pydantic.Field(description="with a description")


class Models(pydantic.BaseModel):
    inner: Model = pydantic.Field(description="beside a reference", default=Model(kind="model"))
    either: Annotated[Union[Model, Other], pydantic.Field(discriminator="kind")]  # noqa: UP007
    several: set[int]
    below: Optional[Models] = None  # noqa: UP045
    address: pydantic.AnyUrl | None = None
    address_by_mail: Annotated[str, pydantic.Field(json_schema_extra={"format": "email"})] = ""


class Map(msgspec.Struct):
    counts: dict[str, int]


class ModelMap(pydantic.BaseModel):
    counts: dict[str, list[Model]]


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int


class Bare(TypedDict):
    anything: Any


class Pair(msgspec.Struct):
    pair: tuple[int, str]


class Named(NamedTuple):
    x: int
    y: int


ALL_OF = {
    "type": "object",
    "properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}], "description": "of one", "default": 1}},
    "$defs": {"A": {"type": "integer", "title": "A"}},
}
CONFUSING = {
    "type": "object",
    "properties": {
        "default": {"type": "string", "default": "x"},
        "not": {"const": "allOf"},
        "$ref": {"enum": ["if", None], "description": "default"},
        "required": {"type": ["string", "null"], "format": "uri"},
    },
}
TREE = {"title": "Tree", "type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#"}}}}
LIST_OF_ITSELF = {"type": "array", "items": {"$ref": "#"}, "title": "Nest"}
ONE_OF = {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}

STRICT: list[Any] = [
    *(Described, Empty, Node, Pets, Plain, Models, Model, Cat | Dog, Colour, Literal["a", "b"], int, str),
    *(list[Inner], list[Model], Model | Other, Inner | None),
    *(ALL_OF, CONFUSING, TREE, LIST_OF_ITSELF, ONE_OF),
]
LOOSE: list[Any] = [
    *(
        Map,
        ModelMap,
        Open,
        Bare,
        Pair,
        Named,
        dict[str, int],
        dict,
        list,
        tuple[int, str],
        Any,
        list[dict[str, str]],
    ),
    {"type": "object", "properties": {"a": True}},
    {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
    {"type": "object", "properties": {"a": {"type": "array"}}},
    {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}}},
    {"type": "object", "properties": {"a": {"type": "object"}}},
    {"type": "object", "properties": {"a": {"description": "anything"}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "if": {}, "then": {"required": ["a"]}},
]


def strict_mode_errors(schema: Any, place: str = "$", *, is_root: bool = True) -> Iterator[str]:
    """Return what OpenAI rejects in a schema for strict mode, by its guide and its errors."""
    if not isinstance(schema, Mapping):
        yield f"{place}: not an object"
        return
    if is_root and (schema.get("type") != "object" or "anyOf" in schema):
        yield f"{place}: the root must be an object, and not anyOf"
    forbidden = schema.keys() & set(
        "default oneOf allOf not if then else dependentRequired dependentSchemas patternProperties "
        "propertyNames minProperties maxProperties unevaluatedProperties unevaluatedItems prefixItems "
        "contains minContains maxContains uniqueItems discriminator".split()
    )
    if forbidden:
        yield f"{place}: {forbidden} not permitted"
    if "$ref" in schema:
        if schema.keys() != {"$ref"}:
            yield f"{place}: $ref cannot have keywords"
        return
    if not schema.keys() & {"type", "anyOf"}:
        yield f"{place}: must have a type"
    if "object" in schema.get("type", ()):
        if schema.get("additionalProperties") is not False:
            yield f"{place}: additionalProperties must be false"
        if sorted(schema.get("required", ())) != sorted(schema.get("properties", {"?": 1})):
            yield f"{place}: required must be all properties"
    if "array" in schema.get("type", ()) and "items" not in schema:
        yield f"{place}: missing items"
    inner = [*schema.get("properties", {}).items(), *schema.get("$defs", {}).items()]
    inner += [(f"anyOf[{number}]", each) for number, each in enumerate(schema.get("anyOf", ()))]
    inner += [("items", schema["items"])] if "items" in schema else []
    for name, each in inner:
        yield from strict_mode_errors(each, f"{place}.{name}", is_root=False)


def names(value: Any) -> str:
    return getattr(value, "__name__", str(value))[:40]


@pytest.mark.parametrize("kind", STRICT, ids=names)
def test_a_supported_type_is_sent_in_strict_mode(kind: Any) -> None:
    answer = response_format_for(kind)
    assert answer.is_strict
    assert list(strict_mode_errors(answer.schema)) == []
    jsonschema.Draft202012Validator.check_schema(answer.schema)


@pytest.mark.parametrize("kind", LOOSE, ids=names)
def test_an_unsupported_type_is_sent_unchanged_and_not_strict(kind: Any) -> None:
    answer = response_format_for(kind)
    assert not answer.is_strict
    assert to_strict_schema(answer.schema) is None
    requested = answer.apply_to({"messages": []})["response_format"]["json_schema"]
    assert (requested["strict"], requested["schema"]["type"]) == (False, "object")
    jsonschema.Draft202012Validator.check_schema(requested["schema"])


VALUES: list[tuple[Any, str, Any]] = [
    (Map, '{"counts": {"a": 1}}', Map({"a": 1})),
    (dict[str, int], '{"answer": {"a": 1}}', {"a": 1}),
    (Pair, '{"pair": [1, "a"]}', Pair((1, "a"))),
    (list[Model], '{"answer": [{"kind": "model", "text": "t"}]}', [Model(kind="model", text="t")]),
    (Model | Other, '{"answer": {"kind": "other", "colour": "red"}}', Other(kind="other", colour=Colour.RED)),
    (Cat | Dog, '{"answer": {"type": "dog", "tricks": []}}', Dog([])),
    (Inner | None, '{"answer": null}', None),
    (Open, '{"a": 1, "b": 2}', Open(a=1, b=2)),  # type: ignore[call-arg]
    (LIST_OF_ITSELF, '{"answer": [[], [[]]]}', [[], [[]]]),
    (TREE, '{"below": [{"below": []}]}', {"below": [{"below": []}]}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "text", "value"), VALUES, ids=lambda each: names(each))
async def test_the_answer_has_the_type_in_either_mode(kind: Any, text: str, value: Any) -> None:
    endpoint = FakeEndpoint(text, "5 of them")
    async with endpoint.client() as client:
        assert (await client.chat("?", answer=kind)).answer == value
        with pytest.raises(AnswerError):
            await client.chat("?", answer=kind)
    requested = (endpoint.attempts[0].body or {})["response_format"]["json_schema"]
    jsonschema.validate(json.loads(text), requested["schema"])


def test_a_description_beside_a_reference_is_kept() -> None:
    inner = response_format_for(Described).schema["properties"]["inner"]
    assert inner == {"anyOf": [{"$ref": "#/$defs/Inner"}], "description": "the inner one"}
    assert response_format_for(ALL_OF).schema["properties"]["a"] == {
        "anyOf": [{"$ref": "#/$defs/A"}],
        "description": "of one",
    }


def test_data_and_property_names_are_not_taken_for_keywords() -> None:
    properties = response_format_for(CONFUSING).schema["properties"]
    assert set(properties) == {"default", "not", "$ref", "required"}
    assert properties["default"] == {"type": "string"}
    assert properties["not"] == {"const": "allOf", "type": "string"}
    assert properties["$ref"]["type"] == ["string", "null"]


def test_an_enum_gets_the_type_of_its_values() -> None:
    properties = response_format_for(Described).schema["properties"]
    assert properties["word"] == {"enum": ["a", "b"], "type": "string"}
    assert set(properties["mixed"]["type"]) == {"string", "integer", "null"}


def test_a_tool_is_strict_if_strict_mode_supports_all_its_parameters() -> None:
    def strictly(inner: Inner, colour: Colour) -> None:
        """Strict."""

    def loosely(counts: dict[str, int]) -> None:
        """Not strict."""

    first, second = (tool["function"] for tool in Tools(strictly, loosely))
    assert first["strict"] is True
    assert list(strict_mode_errors(first["parameters"])) == []
    assert "strict" not in second
    assert second["parameters"]["properties"]["counts"] == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
    }
