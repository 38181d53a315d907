"""Values and rows of Python code as JSON can hold them."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import pathlib
import sqlite3
import types
import uuid
import zoneinfo
from typing import Any

import numpy
import pandas
import pydantic
import pytest

from headrace.bulk.sources.row_values import as_mapping
from headrace.errors import InputError

DAY = datetime.datetime(2026, 7, 1, 12, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
BASES: list[tuple[type, tuple[Any, ...], Any]] = [
    (str, ("a",), "a"),
    (bytes, (b"a",), b"a"),
    (int, (7,), 7),
    (float, (1.5,), 1.5),
    (decimal.Decimal, ("1.50",), "1.50"),
    (uuid.UUID, (str(uuid.UUID(int=7)),), str(uuid.UUID(int=7))),
    (datetime.datetime, (2026, 1, 2, 3, 4, 5, 678), "2026-01-02T03:04:05.000678"),
    (datetime.date, (2026, 1, 2), "2026-01-02"),
    (datetime.time, (3, 4, 5), "03:04:05"),
    (datetime.timedelta, (1, 2), "P1DT2S"),
    (list, ([1],), [1]),
    (dict, ({"a": 1},), {"a": 1}),
]


@pytest.mark.parametrize(
    ("base", "arguments", "expected"), BASES, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_subclass_is_written_as_its_base(base: type, arguments: tuple[Any, ...], expected: object) -> None:
    values = [base(*arguments), type("Sub", (base,), {})(*arguments)]
    assert as_mapping({"x": values}, "row 1") == {"x": [expected, expected]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pandas.Timestamp(DAY), "2026-07-01T12:30:00+02:00"),
        (pandas.Timedelta(seconds=90), "PT90S"),
        (numpy.datetime64("2026-01-02"), "2026-01-02"),
        (pathlib.Path("a/b.png"), "a/b.png"),
        (range(3), [0, 1, 2]),
        (collections.deque([1, 2]), [1, 2]),
        (fractions.Fraction(1, 2), 0.5),
        (pandas.Series([1, 2]), [1, 2]),
        (bytearray(b"ab"), "YWI="),
        (b"\xff\x00", b"\xff\x00"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_another_library_is_converted(value: object, expected: object) -> None:
    assert as_mapping({"x": value, "y": [value]}, "row 1") == {"x": expected, "y": [expected]}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), numpy.float32("nan"), pandas.NaT, pandas.NA, numpy.datetime64("NaT")],
    ids=repr,
)
def test_what_is_missing_is_null(value: object) -> None:
    assert as_mapping({"x": value, "y": {"z": [value]}}, "row 1") == {"x": None, "y": {"z": [None]}}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert as_mapping({"x\ud83d": ["a\ud83d", "😀", "Ä"]}, "row 1") == {"x\ufffd": ["a\ufffd", "😀", "Ä"]}


def sqlite_row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute("select 'a' as id, x'ff00' as raw").fetchone()
    connection.close()
    return row


class Model(pydantic.BaseModel):
    id: str
    raw: bytes


Pair = collections.namedtuple("Pair", "id raw")


@pytest.mark.parametrize(
    "row",
    [
        sqlite_row(),
        Pair("a", b"\xff\x00"),
        pandas.Series({"id": "a", "raw": b"\xff\x00"}),
        types.MappingProxyType({"id": "a", "raw": b"\xff\x00"}),
        Model(id="a", raw=b"\xff\x00"),
    ],
    ids=lambda row: type(row).__name__,
)
def test_rows_of_databases_and_named_tuples_are_rows(row: object) -> None:
    assert as_mapping(row, "row 1") == {"id": "a", "raw": b"\xff\x00"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"a": 1, "b": [{"c": object()}]},
            "row 7: column 'b': a value of type object cannot be written as JSON; make it a text or a number",
        ),
        (
            {"a": 1, "b": complex(1, 2)},
            "row 7: column 'b': a value of type complex cannot be written as JSON",
        ),
        ("text", "row 7: must be a mapping or an object with fields, not str; make it one, like {'text': …}"),
        ((1, 2), "row 7: must be a mapping or an object with fields, not tuple; make it one"),
        (None, "row 7: must be a mapping or an object with fields, not NoneType; make it one"),
    ],
)
def test_another_row_or_value_is_named_in_one_line(row: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        as_mapping(row, "row 7")
    assert str(caught.value).startswith(message)
