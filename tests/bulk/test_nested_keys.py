"""Keys with dots in prompt templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk import Source
from headrace.bulk.nested_keys import value_at
from headrace.bulk.template import Template
from headrace.errors import InputError

ROW: dict[str, Any] = {
    "a": {"b": 1, "c": {"d": [1, 2]}, "x.y": "literal key", "none": None},
    "a.b": "literal column",
    "e.f": {"g": "key of a column with a dot"},
    "none": None,
    "list": [{"k": 1}],
    "empty": {},
    "text": "t",
    "flag": True,
    "number": 1.5,
    "p[0]": "literal bracket",
}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a.b", "literal column"),
        ("a.c.d", "[1,2]"),
        ("a.c", '{"d":[1,2]}'),
        ("a.x.y", "literal key"),
        ("e.f.g", "key of a column with a dot"),
        ("a.none", ""),
        ("none", ""),
        ("none.b.c", ""),
        ("p[0]", "literal bracket"),
    ],
)
def test_a_key_with_dots_is_a_column_or_leads_into_objects(key: str, text: str) -> None:
    template = Template(f"<{{{key}}}>")
    template.check(ROW, "in:1")
    assert template.render(ROW) == f"<{text}>"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a.z", "'a' has no 'z'; known: b, c, none, x.y"),
        ("a.c.dd", "'a.c' has no 'dd'; did you mean 'd'?"),
        ("a.z.z", "'a' has no 'z'; known: b, c, none, x.y"),
        ("a.c.d.0", "'a.c.d' is a list, and indexes are not supported"),
        ("list.0", "'list' is a list, and indexes are not supported"),
        ("list[0]", "'list' is there, but indexes are not supported"),
        ("a.c.d[0]", "'a.c.d' is there, but indexes are not supported"),
        ("empty.z", "'empty' has no 'z'; it is empty"),
        ("text.z", "'text' is text and has no keys"),
        ("text.__class__", "'text' is text and has no keys"),
        ("flag.z", "'flag' is a boolean and has no keys"),
        ("number.real", "'number' is a number and has no keys"),
        ("txet", "did you mean 'text'?"),
        ("txet.z", "did you mean 'text'?"),
    ],
)
def test_a_missing_key_names_what_is_there(key: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        Template(f"{{{key}}}").check(ROW, "in:7")
    assert str(caught.value) == f"in:7: no column {key!r} for the prompt; {why}"


objects = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), objects, max_size=4))
def test_every_value_is_found_by_its_path_unless_a_column_has_that_name(row: dict[str, Any]) -> None:
    paths = list(_paths(row))
    for path, value in paths:
        assert value_at(row, path) == value
    for path, _ in paths:
        assert value_at({**row, path: "literal"}, path) == "literal"


def _paths(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The path of each value in a row, and the value."""
    for name, value in row.items():
        yield prefix + name, value
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}.")


@pytest.mark.parametrize("write", [pyarrow.parquet.write_table, pyarrow.feather.write_feather])
def test_keys_lead_into_structs_of_parquet_and_arrow(tmp_path: Path, write: Any) -> None:
    write(pyarrow.Table.from_pylist([{"a": {"b": {"c": "x"}}}, {"a": None}]), tmp_path / "in")
    rows = [item.row for item in Source(tmp_path / "in").items()]
    assert [Template("<{a.b.c}>").render(row) for row in rows] == ["<x>", "<>"]
    with pytest.raises(InputError, match=r"no column 'a\.c' for the prompt; 'a' has no 'c'; known: b"):
        Template("{a.c}").check(rows[0], "in, row 1")
