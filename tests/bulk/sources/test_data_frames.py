"""Data frames as input: their columns, index and types, and what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas
import polars
import pyarrow
import pytest

import headrace
from headrace.bulk import RowSource
from headrace.errors import InputError
from headrace.testing import FakeEndpoint

FRAME = pandas.DataFrame({"text": ["a", "b", "c"]})


def rows_of(frame: Any) -> list[dict[str, Any]]:
    return [dict(item.row) for item in RowSource(frame).items()]


def ids_of(frame: Any) -> list[str]:
    return [item.id for item in RowSource(frame).items()]


def test_the_place_of_a_row_in_another_frame_is_not_part_of_it() -> None:
    first, _, third = ids_of(FRAME)
    assert ids_of(FRAME[FRAME["text"] != "b"]) == [first, third]
    assert ids_of(FRAME.iloc[::-1])[::2] == [third, first]
    assert rows_of(FRAME[1:]) == [{"text": "b"}, {"text": "c"}]


@pytest.mark.parametrize("ids", [["x", "y", "z"], [1, 2, 3], [5, 2, 9]])
def test_an_index_with_a_name_is_a_column(ids: list[Any]) -> None:
    frame = FRAME.set_index(pandas.Index(ids, name="id"))
    assert ids_of(frame) == [str(id) for id in ids]
    several = FRAME.set_index(pandas.MultiIndex.from_arrays([ids, ids], names=["id", None]))
    assert rows_of(several)[0] == {"id": ids[0], "text": "a"}


@pytest.mark.anyio
async def test_a_stream_of_record_batches_is_read_once() -> None:
    table = pyarrow.table({"id": ["a", "b"], "text": ["x", "y"]})
    async with FakeEndpoint(otherwise="ok").client() as client:
        result = await headrace.run(client, table.to_reader(max_chunksize=1), prompt="{text}")
        assert [(line.custom_id, line.answer) for line in result] == [("a", "ok"), ("b", "ok")]
        assert result.to_arrow()["custom_id"].to_pylist() == ["a", "b"]
        with pytest.raises(InputError, match="only=: needs rows that can be read twice"):
            await headrace.run(client, table.to_reader(), prompt="{text}", only=["a"])


@pytest.mark.anyio
async def test_columns_come_back_with_their_types() -> None:
    of_pandas = pandas.DataFrame(
        {
            "big": pandas.array([2**53 + 1, None], dtype="Int64"),
            "flag": pandas.array([True, None], dtype="boolean"),
            "kind": pandas.Categorical(["x", None]),
        },
        index=pandas.Index(["a", "b"], name="id"),
    )
    of_polars = polars.DataFrame(
        {
            "kind": polars.Series(["x", None], dtype=polars.Categorical),
            "level": polars.Series(["low", "high"], dtype=polars.Enum(["low", "high"])),
        }
    )
    async with FakeEndpoint(otherwise="ok").client() as client:
        frame = (await headrace.run(client, of_pandas, prompt="{big}")).to_pandas()
        table = (await headrace.run(client, of_polars, prompt="{kind} {level}")).to_polars()
    pandas.testing.assert_frame_equal(frame[["id", *of_pandas.columns]], of_pandas.reset_index())
    assert list(frame["answer"]) == ["ok", "ok"]
    assert table.select(of_polars.columns).equals(of_polars)
    assert table.select(of_polars.columns).schema == of_polars.schema


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: pandas.DataFrame([[1, 2]], columns=["x", "x"]),
            "rows: this DataFrame cannot be read as Arrow: Duplicate column names found: ['x', 'x']; give",
        ),
        (
            lambda: pandas.DataFrame({"x": [1, "two"]}),
            "rows: this DataFrame cannot be read as Arrow: Could not convert 'two' with type str: "
            "tried to convert to int64; Conversion failed for column x with type object; give each column",
        ),
        (
            lambda: pandas.DataFrame({"x": [object()]}),
            "rows: this DataFrame cannot be read as Arrow: Could not",
        ),
        (
            lambda: pandas.DataFrame({"x": [1 + 2j]}),
            "rows: this DataFrame cannot be read as Arrow: Unsupported",
        ),
        (
            lambda: pandas.DataFrame({"id": [1]}, index=pandas.Index([1], name="id")),
            "rows: this DataFrame cannot be read as Arrow: cannot insert id, already exists; give",
        ),
        (
            lambda: pandas.Series([1]),
            "rows: must be a data frame, not one column (Series); pass its to_frame()",
        ),
        (
            lambda: polars.Series([1]),
            "rows: must be a data frame, not one column (Series); pass its to_frame()",
        ),
        (
            lambda: polars.DataFrame({"x": polars.Series([object()], dtype=polars.Object)}),
            "rows: column 'x' has Python objects; make them texts or numbers",
        ),
        (lambda: pyarrow.chunked_array([[1]]), "rows: this ChunkedArray cannot be read as Arrow: "),
    ],
)
def test_what_arrow_cannot_hold_is_named_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        RowSource(make())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
