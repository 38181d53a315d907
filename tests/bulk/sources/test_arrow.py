"""Arrow files (Feather) and streams."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow
import pyarrow.feather
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Source, Task, write_table
from headrace.bulk.template import Template
from headrace.errors import InputError

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
nested = st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.lists(texts, max_size=2)})
SCHEMA = pyarrow.schema(
    [
        ("text", pyarrow.string()),
        ("number", pyarrow.int64()),
        ("nested", pyarrow.struct([("a", pyarrow.int64()), ("b", pyarrow.list_(pyarrow.string()))])),
    ]
)
WRITERS: dict[str, Callable[..., Any]] = {
    "file": pyarrow.ipc.new_file,
    "stream": pyarrow.ipc.new_stream,
}


def arrow_bytes(rows: list[dict[str, Any]], form: str, batch_rows: int = 1 << 16, **options: Any) -> bytes:
    file = io.BytesIO()
    with WRITERS[form](file, SCHEMA, **options) as writer:
        writer.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), max_chunksize=batch_rows)
    return file.getvalue()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "in"
    path.write_bytes(content)
    return path


def rows_of(path: Path) -> list[Any]:
    source = Source(path)
    assert source.kind == "arrow"
    return [dict(item.row) for item in source.items()]


@pytest.mark.parametrize("form", WRITERS)
@quick
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | texts,
                "number": st.none() | st.integers(-(2**63), 2**63 - 1),
                "nested": st.none()
                | st.fixed_dictionaries(
                    {"a": st.none() | st.integers(0, 9), "b": st.lists(texts, max_size=2)}
                ),
            }
        ),
        min_size=1,
        max_size=4,
    ),
    times=st.integers(1, 90),
    batch_rows=st.integers(1, 300),
    compression=st.sampled_from([None, "lz4", "zstd"]),
)
def test_any_rows_in_batches_of_any_size_are_read_back(
    tmp_path: Path, form: str, rows: list[Any], times: int, batch_rows: int, compression: str | None
) -> None:
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    content = arrow_bytes(rows * times, form, batch_rows, options=options)
    assert rows_of(written(tmp_path, content)) == rows * times


def test_files_of_pandas_and_polars_are_read(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "text": "Größe", "tags": ["a"], "at": {"x": n}} for n in range(3)]
    path = tmp_path / "in.feather"
    pandas.DataFrame(rows).to_feather(path)
    assert rows_of(path) == rows
    frame = polars.DataFrame(rows)
    for write in (frame.write_ipc, frame.write_ipc_stream):
        for compression in ("uncompressed", "lz4", "zstd"):
            write(path, compression=compression)
            assert rows_of(path) == rows


def test_items_are_named_by_their_row_and_decoded_some_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "in"
    pyarrow.feather.write_feather(pyarrow.table({"id": range(300)}), path, chunksize=200)
    source = Source(path)
    assert [(item.index, item.line, item.id) for item in source.items()][198:201] == [
        (198, 199, "198"),
        (199, 200, "199"),
        (200, 201, "200"),
    ]
    assert max(len(items) for items, _ in source.batches()) <= 128
    assert [item.id for item in Source(path, limit=2).items()] == ["0", "1"]
    with pytest.raises(InputError, match="in, row 1: no column 'no' for the prompt; known: id"):
        InputCheck(Task(source, Template("{no}"), "m")).finish()


def test_a_table_of_arrow_input_keeps_the_types(tmp_path: Path) -> None:
    path, out = tmp_path / "in", tmp_path / "out.jsonl"
    given_table = pyarrow.table(
        {"id": pyarrow.array([1, 2], pyarrow.uint16()), "day": pyarrow.array([0, 1], pyarrow.date32())}
    )
    pyarrow.feather.write_feather(given_table, path)
    out.write_text("")
    write_table(tmp_path / "t.parquet", Source(path), out)
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.select(["id", "day"]).schema == given_table.schema


ROWS = [{"text": f"Größe {n}", "number": n, "nested": {"a": n, "b": ["x"]}} for n in range(8)]


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_cut_short_is_an_error_with_its_name(tmp_path: Path, form: str) -> None:
    content = arrow_bytes(ROWS, form)
    # A stream may end without its end mark, which has 8 bytes.
    for cut in range(8, len(content) - 8, 7):
        path = written(tmp_path, content[:cut])
        with pytest.raises(InputError) as caught:
            list(Source(path).items())
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_changed_byte_never_crashes(tmp_path: Path) -> None:
    """In a process of its own, which a read outside of memory would kill."""
    for form in WRITERS:
        (tmp_path / form).write_bytes(arrow_bytes(ROWS, form))
    program = """
import sys
from pathlib import Path
from headrace.bulk import Source
from headrace.errors import InputError
for name in sys.argv[1:]:
    path = Path(name)
    content, errors = path.read_bytes(), 0
    for place in range(8, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            list(Source(path).items())
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and len(str(error)) < 1000 and "\\n" not in str(error)
            errors += 1
    print(errors)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *(str(tmp_path / form) for form in WRITERS)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert all(int(errors) > 20 for errors in done.stdout.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"FEA1" + b"\0" * 100, "is Feather of version 1; write it again as version 2, which is Arrow"),
        (gzip.compress(arrow_bytes(ROWS, "file")), "is Arrow inside gzip; decompress it first"),
        (arrow_bytes([], "file"), "has no rows; add at least one"),
        (arrow_bytes([], "stream"), "has no rows; add at least one"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        list(Source(path).items())
    assert str(caught.value) == f"{path}: {message}"
