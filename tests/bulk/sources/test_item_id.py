"""Ids from a column: of which values, and the same for files and rows of Python code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from headrace.bulk import RowSource, Source
from headrace.errors import InputError


def sources(folder: Path, value: Any) -> list[Source | RowSource]:
    (folder / "in.jsonl").write_text(json.dumps({"id": "first"}) + "\n" + json.dumps({"id": value}))
    return [Source(folder / "in.jsonl"), RowSource([{"id": "first"}, {"id": value}])]


@pytest.mark.parametrize(
    ("value", "id"), [("a", "a"), (7, "7"), (7.0, "7"), (-1, "-1"), (10**30, str(10**30))]
)
def test_texts_and_whole_numbers_are_ids(tmp_path: Path, value: Any, id: str) -> None:
    for source in sources(tmp_path, value):
        assert [item.id for item in source.items()] == ["first", id]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("", "''"), (None, "None"), (True, "True"), (2.5, "2.5"), ([1], "[1]"), ({"a": 1}, "{'a': 1}")],
)
def test_another_value_is_named_with_the_way_on(tmp_path: Path, value: Any, shown: str) -> None:
    for source in sources(tmp_path, value):
        with pytest.raises(InputError) as caught:
            list(source.items())
        assert str(caught.value).endswith(
            f" must be a string that is not empty, or an integer, not {shown}; "
            "correct it, or name another column with id_column="
        )


def test_a_column_of_integers_that_pandas_made_floats_has_ids() -> None:
    frame = pandas.DataFrame({"id": [1.0, 2.0], "text": ["a", "b"]})
    assert [item.id for item in RowSource(frame).items()] == ["1", "2"]
