"""Which columns of Arrow and Parquet are bytes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from headrace.bulk import Source, Task
from headrace.bulk.sources import columnar_rows

CONTENT = b"\x89PNG\r\n\x1a\n"
BYTES = pyarrow.binary()


def source_of(folder: Path, column: pyarrow.Array) -> Source:
    table = pyarrow.table({"a": column})
    with pyarrow.ipc.new_file(folder / "in", table.schema) as writer:
        writer.write_table(table)
    return Source(folder / "in")


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (BYTES, CONTENT, {"a"}),
        (pyarrow.large_binary(), CONTENT, {"a"}),
        (pyarrow.binary_view(), CONTENT, {"a"}),
        (pyarrow.binary(len(CONTENT)), CONTENT, {"a"}),
        (pyarrow.list_(BYTES), [CONTENT], {"a"}),
        (pyarrow.large_list(BYTES), [CONTENT], {"a"}),
        (pyarrow.list_(BYTES, 1), [CONTENT], {"a"}),
        (pyarrow.list_view(BYTES), [CONTENT], {"a"}),
        (pyarrow.struct([("b", BYTES), ("c", pyarrow.string())]), {"b": CONTENT, "c": "x"}, {"a.b"}),
        (pyarrow.struct([("b", pyarrow.struct([("c", BYTES)]))]), {"b": {"c": CONTENT}}, {"a.b.c"}),
        (pyarrow.string(), "x", set()),
        (pyarrow.list_(pyarrow.string()), ["x"], set()),
        (pyarrow.int64(), 1, set()),
    ],
    ids=str,
)
def test_a_column_of_bytes_is_known_by_its_type(
    kind: pyarrow.DataType, value: Any, found: set[str], tmp_path: Path
) -> None:
    source = source_of(tmp_path, pyarrow.array([value, None], kind))
    assert source.binary_columns == found
    for column in found:
        task = Task(source, "?", "m", file=column)
        first, second = (task.request(item).body for item in source.items())
        assert first is not None
        assert second is not None
        part = first["messages"][0]["content"][1]
        uri = f"data:image/png;base64,{base64.b64encode(CONTENT).decode()}"
        assert part["file"]["file_data"] == uri
        assert second["messages"][0]["content"] == "?"


def test_categories_of_bytes_are_bytes(tmp_path: Path) -> None:
    column = pyarrow.array([CONTENT, None, CONTENT], BYTES).dictionary_encode()
    assert source_of(tmp_path, column).binary_columns == {"a"}


def test_a_template_gets_bytes_as_base64(tmp_path: Path) -> None:
    source = source_of(tmp_path, pyarrow.array([CONTENT], BYTES))
    body = Task(source, "{a}", "m").request(next(source.items())).body
    assert body is not None
    assert body["messages"][0]["content"] == base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(("kind", "rows"), [(BYTES, columnar_rows._BINARY_BATCH), (pyarrow.string(), 100)])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_few_rows_with_bytes_are_decoded_at_once(
    form: str, kind: pyarrow.DataType, rows: int, tmp_path: Path
) -> None:
    column = pyarrow.array(["x"] * 100, kind)
    source = source_of(tmp_path, column)
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"a": column}), tmp_path / "in.parquet")
        source = Source(tmp_path / "in.parquet")
    items, _ = next(iter(source.batches()))
    assert len(items) == rows
