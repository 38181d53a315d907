"""The schemas of msgspec's types name the formats of times."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import msgspec
import pytest

from headrace.wire.json_schema import schema_of

Described = Annotated[datetime.datetime, msgspec.Meta(description="then")]


@dataclasses.dataclass
class Data:
    at: datetime.datetime


@attrs.define
class Plain:
    at: datetime.datetime | None


class Typed(TypedDict):
    at: list[datetime.datetime]


class Named(NamedTuple):
    at: datetime.datetime


class Renamed(msgspec.Struct, rename="camel"):
    seen_at: Described


class Cat(msgspec.Struct, tag=True):
    at: dict[str, datetime.datetime]


class Dog(msgspec.Struct, tag=True):
    at: tuple[datetime.datetime, ...]


class Row(msgspec.Struct, array_like=True, tag=True):
    number: int
    at: datetime.datetime


class Tree(msgspec.Struct):
    at: datetime.datetime
    below: list[Tree] | None


KINDS: list[Any] = [
    *(datetime.datetime, Described, Data, Plain, Typed, Named, Renamed, Row, Tree),
    *(tuple[int, datetime.datetime], set[datetime.datetime], int | list[Data] | None, dict[str, Plain]),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_time_has_its_format(kind: Any) -> None:
    assert '"date-time"' in json.dumps(schema_of(kind)[0])


def test_each_type_of_a_union_has_its_formats() -> None:
    definitions = schema_of(Cat | Dog)[0]["$defs"]
    assert definitions["Cat"]["properties"]["at"]["additionalProperties"]["format"] == "date-time"
    assert definitions["Dog"]["properties"]["at"]["items"]["format"] == "date-time"
    either = schema_of(datetime.time | int | None)[0]["anyOf"]
    assert {"type": "string", "format": "time"} in either
    assert {"type": "integer"} in either


def test_other_strings_have_no_format() -> None:
    struct = msgspec.defstruct("S", [("a", str), ("b", str | int), ("c", list[str] | None), ("d", Any)])
    assert "format" not in json.dumps(schema_of(struct)[0])
