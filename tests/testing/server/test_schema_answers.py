"""The answers of the embedded endpoint fit the type that `answer=` asks for."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import pathlib
import uuid
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import attrs
import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server.answer_text import best_choice
from headrace.testing.server.schema_answers import structured_answer
from headrace.wire.structured_output import response_format_for

PROMPT = "Ordne das Produkt ein: ein „Gartenschlauch“, 20 m"


def answer_for(kind: Any, text: str = PROMPT) -> Any:
    """The answer to a request for this type, checked and parsed as a client does."""
    wanted = response_format_for(kind)
    requested = wanted.apply_to({"messages": []})["response_format"]
    content = structured_answer(requested, lambda choices: best_choice(choices, text, b"seed"), text)
    assert content is not None
    jsonschema.validate(json.loads(content), requested["json_schema"]["schema"])
    return wanted.parse(content)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(pydantic.BaseModel):
    street: str
    built: datetime.date
    owner: Person | None = None


class Person(pydantic.BaseModel):
    id: uuid.UUID
    born: datetime.date
    seen: datetime.datetime
    addresses: list[Address]
    friend: Optional[Person] = None  # noqa: UP045


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = pydantic.Field(min_length=2)


class Node(msgspec.Struct):
    name: str
    children: list[Node]
    at: datetime.datetime


class Tagged(msgspec.Struct, tag="tagged"):
    day: datetime.date


class OtherTag(msgspec.Struct, tag="other"):
    pause: datetime.timedelta


@attrs.define
class Plain:
    when: datetime.time
    price: decimal.Decimal
    kinds: dict[str, Colour]


@dataclasses.dataclass
class Data:
    inner: Plain
    ids: list[uuid.UUID]
    maybe: datetime.date | None = None


class Typed(TypedDict, total=False):
    a: int
    day: datetime.date


class Named(NamedTuple):
    x: int
    day: datetime.date


def field(kind: Any, **limits: Any) -> Any:
    """A pydantic model with a field of this type."""
    return pydantic.create_model("Model", value=(kind, pydantic.Field(**limits)))


def model_of(name: str, members: dict[str, Any]) -> Any:
    """A pydantic model with these members."""
    fields: dict[str, Any] = {member: (kind, ...) for member, kind in members.items()}
    return pydantic.create_model(name, **fields)


def struct(kind: Any) -> Any:
    """A msgspec Struct with a field of this type."""
    return msgspec.defstruct("Struct", [("value", kind)])


SIMPLE: list[Any] = [
    *(str, int, float, bool, bytes, datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    *(uuid.UUID, decimal.Decimal, Colour, Level, Literal["a", 1, None], list[datetime.date]),
    *(set[int], frozenset[str], tuple[int, datetime.date], tuple[datetime.date, ...]),
    *(dict[str, datetime.date], dict[int, str], Optional[uuid.UUID], Union[datetime.date, int]),  # noqa: UP045, UP007
    *(list[list[int]], dict[str, list[uuid.UUID]], Any),
]
LIMITED: dict[str, Any] = {
    "greater": field(int, gt=0),
    "between": field(int, gt=4, lt=6),
    "negative": field(int, lt=-3),
    "multiple": field(int, multiple_of=7, gt=7),
    "multiple float": field(float, multiple_of=0.05, gt=0.1),
    "narrow": field(float, gt=0, lt=0.01),
    "probability": field(float, ge=0, le=1),
    "positive decimal": field(decimal.Decimal, gt=0, max_digits=5, decimal_places=2),
    "short": field(str, min_length=2, max_length=3),
    "stripped": field(Annotated[str, pydantic.StringConstraints(strip_whitespace=True)], min_length=400),
    "pattern": field(str, pattern=r"^[A-Z]{2}-\d{3,4}$"),
    "pattern with choice": field(str, pattern=r"^(?:EUR|USD) [1-9]\d*(?:\.\d\d)?$"),
    "pattern with lengths": field(str, pattern=r"^[a-z]+$", min_length=12, max_length=14),
    "two items": field(list[datetime.date], min_length=2, max_length=4),
    "set of three": field(set[str], min_length=3),
    "set of three ids": field(set[uuid.UUID], min_length=3),
    "set of choices": field(set[Literal["a", "b", "c"]], min_length=3),
    "set of short ones": field(set[Annotated[str, pydantic.Field(max_length=1)]], min_length=3),
    "map of two": field(dict[str, int], min_length=2),
    "map by day": field(dict[datetime.date, int], min_length=2),
    "map by choice": field(dict[Literal["x", "y"], float]),
    "map by pattern": field(dict[Annotated[str, pydantic.Field(pattern="^k[0-9]$")], int]),
    "url": field(pydantic.AnyUrl),
    "http url": field(pydantic.HttpUrl),
    "uuid4": field(pydantic.UUID4),
    "address": field(ipaddress.IPv4Address),
    "address 6": field(ipaddress.IPv6Address),
    "any address": field(pydantic.IPvAnyAddress),
    "network": field(ipaddress.IPv4Network),
    "path": field(pathlib.Path),
    "base64": field(pydantic.Base64Bytes),
    "secret": field(pydantic.SecretStr),
    "json": field(pydantic.Json),
    "past": field(pydantic.PastDate),
    "aware": field(pydantic.AwareDatetime),
    "described": field(pydantic.AnyUrl, description="Where it is."),
    "email": field(Annotated[str, pydantic.Field(json_schema_extra={"format": "email"})], pattern="^.+@.+$"),
    "msgspec limits": struct(Annotated[int, msgspec.Meta(ge=3, multiple_of=4)]),
    "msgspec pattern": struct(Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]),
    "msgspec lengths": struct(Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)]),
    "msgspec map": struct(dict[Annotated[str, msgspec.Meta(min_length=5)], bytes]),
}
NESTED: list[Any] = [
    Address,
    Person,
    Node,
    Plain,
    Data,
    Typed,
    Named,
    Cat | Dog,
    list[Person],
    Tagged | OtherTag,
]


@pytest.mark.parametrize("kind", [*SIMPLE, *NESTED], ids=str)
def test_an_answer_has_the_type(kind: Any) -> None:
    answer_for(kind)


@pytest.mark.parametrize("name", LIMITED)
def test_an_answer_keeps_the_limits(name: str) -> None:
    answer_for(LIMITED[name])


@pytest.mark.parametrize("kind", [each for each in SIMPLE if each is not Any], ids=str)
@pytest.mark.parametrize("wrap", [field, struct, lambda kind: field(list[kind], min_length=2)])  # type: ignore[valid-type]
def test_a_member_has_its_type(kind: Any, wrap: Any) -> None:
    answer_for(wrap(kind))


def test_text_that_ends_early_or_is_empty_fits_too() -> None:
    for text in ("", " ", "a ", "\u202e", '"', "ä" * 500):
        assert len(answer_for(LIMITED["short"], text).value) in (2, 3)
        answer_for(LIMITED["stripped"], text)


def test_members_of_a_recursive_type_end() -> None:
    person = answer_for(Person)
    assert person.addresses
    assert person.friend.friend is None
    assert answer_for(Node).children[0].children == []


class Endless(pydantic.BaseModel):
    next: Endless


def test_a_type_without_finite_values_has_the_answer_null() -> None:
    wanted = response_format_for(Endless).apply_to({"messages": []})["response_format"]
    assert structured_answer(wanted, lambda choices: choices[0], "text") == "null"


SCHEMAS: list[dict[str, Any]] = [
    {"allOf": [{"$ref": "#/$defs/A"}, {"maximum": 8}], "$defs": {"A": {"type": "number", "minimum": 7}}},
    {"type": "object", "required": ["a"], "additionalProperties": {"type": "integer", "minimum": 5}},
    {"type": "object", "minProperties": 2, "patternProperties": {"^[a-c]$": {"const": 1}}},
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 3},
    {"type": "array", "uniqueItems": True, "minItems": 4, "items": {"enum": ["a", "b", "c", "d"]}},
    {"type": "array", "uniqueItems": True, "minItems": 2, "items": {"type": ["boolean", "null"]}},
    {"type": "string", "pattern": r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{8,}$"},
    {"oneOf": [False, {"type": "string", "maxLength": 0}]},
    {"type": ["null", "string"]},
    {"type": "object", "properties": {"a/b": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {"const": 3}}},
    {"properties": {"a": {"type": "number"}}, "allOf": [{"properties": {"a": {"exclusiveMinimum": 2}}}]},
    {"type": "integer", "minimum": 1, "exclusiveMinimum": 1, "maximum": 2},
    {"type": "integer", "multipleOf": 2.5, "minimum": 1},
    {"type": "number", "minimum": 0.3, "maximum": 0.3},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_an_answer_fits_any_json_schema(schema: dict[str, Any]) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    content = structured_answer(wanted, lambda choices: choices[0], PROMPT)
    assert content is not None
    jsonschema.validate(json.loads(content), schema)


leaves = st.sampled_from(
    [
        *(str, int, float, bool, datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
        *(uuid.UUID, decimal.Decimal, Colour, Level, Literal["a", "b"], pydantic.HttpUrl, Address, Cat | Dog),
        *(Annotated[int, pydantic.Field(gt=3)], Annotated[str, pydantic.Field(max_length=4)]),
        Annotated[str, pydantic.Field(pattern=r"^\w{3}-\d+$")],
    ]
)
kinds = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: dict[str, kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: kind | None),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),  # type: ignore[valid-type]
        st.integers(1, 3).flatmap(
            lambda least: inner.map(lambda kind: Annotated[list[kind], pydantic.Field(min_length=least)])  # type: ignore[valid-type]
        ),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(
            lambda members: model_of("Inner", members)
        ),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("abcde"), kinds, min_size=1, max_size=4), st.text(max_size=30))
def test_an_answer_has_the_type_of_any_model(members: dict[str, Any], text: str) -> None:
    answer_for(model_of("Model", members), text)
