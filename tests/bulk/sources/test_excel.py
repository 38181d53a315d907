"""Excel workbooks: the first sheet of an .xlsx file."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Source, Task, write_table
from headrace.bulk.template import Template
from headrace.errors import InputError

# Excel's XML has no control characters, and "_x000D_" in it is an escape.
characters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="_\ufffe\uffff")
texts = st.text(characters, min_size=1).filter(lambda text: not text.startswith("="))
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def workbook(*rows: list[Any], folder: Path, formats: dict[str, str] | None = None) -> Path:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    for cell, number_format in (formats or {}).items():
        sheet[cell].number_format = number_format
    book.save(folder / "in.xlsx")
    return folder / "in.xlsx"


def rows_of(path: Path) -> list[Any]:
    source = Source(path)
    assert source.kind == "excel"
    return [dict(item.row) for item in source.items()]


@quick
@given(
    rows=st.lists(
        st.tuples(
            texts,
            st.none() | st.integers(-(2**50), 2**50) | st.booleans(),
            st.none() | st.floats(-1e9, 1e9).map(lambda number: round(number, 3) + 0.0005),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_values_are_read_back(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    path = workbook(["text", "n", "float"], *map(list, rows), folder=tmp_path)
    read = [tuple(row.values()) for row in rows_of(path)]
    assert [row[:2] for row in read] == [row[:2] for row in rows]
    assert [row[2] for row in read] == pytest.approx([row[2] for row in rows])


def test_files_of_pandas_are_read(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "text": f"Größe {n}", "n": n, "day": dt.date(2025, 3, n + 1)} for n in range(3)]
    pandas.DataFrame(rows).to_excel(tmp_path / "in.xlsx", index=False)
    expected = [row | {"day": f"2025-03-0{n + 1}"} for n, row in enumerate(rows)]
    assert rows_of(tmp_path / "in.xlsx") == expected
    assert [item.id for item in Source(tmp_path / "in.xlsx").items()] == ["q0", "q1", "q2"]


@pytest.mark.parametrize(
    ("value", "number_format", "read"),
    [
        (dt.datetime(2025, 3, 1), "yyyy-mm-dd", "2025-03-01"),
        (dt.datetime(2025, 3, 1), "DD.MM.YYYY", "2025-03-01"),
        (dt.datetime(2025, 3, 1), '[$-407]d. mmmm yyyy "Uhr"', "2025-03-01"),
        (dt.datetime(2025, 3, 1), "yyyy-mm-dd h:mm", "2025-03-01T00:00:00"),
        (dt.datetime(2025, 3, 1, 12, 30), "yyyy-mm-dd h:mm", "2025-03-01T12:30:00"),
        (dt.time(12, 30), "h:mm", "12:30:00"),
        (dt.timedelta(hours=30), "[h]:mm:ss", "P1DT21600S"),
        (True, "General", True),
        (12.5, "0.00", 12.5),
        (9, "General", 9),
        ("#N/A", "General", "#N/A"),
        (10**10, "yyyy-mm-dd", "#VALUE!"),  # no date; openpyxl warns
    ],
)
def test_values_that_json_lacks_are_iso_strings(
    tmp_path: Path, value: Any, number_format: str, read: Any
) -> None:
    path = workbook(["x"], [value], folder=tmp_path, formats={"A2": number_format})
    assert rows_of(path) == [{"x": read}]


def test_rows_are_numbered_as_in_the_sheet_and_empty_ones_left_out(tmp_path: Path) -> None:
    path = workbook([], ["id", "text"], ["a", None], [None, None], ["b", "x", None], folder=tmp_path)
    items = list(Source(path).items())
    assert [(item.line, item.id, item.row["text"]) for item in items] == [(3, "a", None), (5, "b", "x")]
    with pytest.raises(InputError, match=r"in\.xlsx, row 3: no column 'txt' for the prompt; did you mean"):
        InputCheck(Task(Source(path), Template("{txt}"), "m")).finish()


def test_only_the_first_sheet_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["a"])
    book.worksheets[0].append([1])
    book.create_sheet("other").append(["b"])
    book.save(tmp_path / "in.xlsx")
    assert rows_of(tmp_path / "in.xlsx") == [{"a": 1}]


def test_wrong_dimensions_in_the_file_hide_no_rows(tmp_path: Path) -> None:
    path = workbook(["a", "b"], [1, 2], [3, 4], folder=tmp_path)
    changed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content, number = re.subn(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', content)
                assert number == 1
            new.writestr(name, content)
    path.write_bytes(changed.getvalue())
    assert rows_of(path) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_table_of_excel_input_has_types(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = workbook(["id", "n", "text"], ["a", 1, "x"], ["b", None, "y"], folder=tmp_path)
    (tmp_path / "out.jsonl").write_text("")
    write_table(tmp_path / "t.parquet", Source(path), tmp_path / "out.jsonl")
    schema = pyarrow.parquet.read_table(tmp_path / "t.parquet").schema
    assert [str(schema.field(name).type) for name in ("id", "n", "text")] == ["string", "int64", "string"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], ": the first sheet is empty; headrace reads only the first sheet"),
        ([["a", "b"]], ": has no rows below its header; add at least one"),
        ([["a"], [1], [1, 2]], ", row 3: 2 values, but the header has 1"),
        ([["a", "b", "a"], [1, 2, 3]], ", row 1: columns 1 and 3 have the same name 'a'; rename one"),
        ([["a", None, None, "b"], [1]], ", row 1: columns 2 and 3 have no name; give each a name"),
    ],
)
def test_a_bad_sheet_is_one_line(tmp_path: Path, rows: list[list[Any]], message: str) -> None:
    path = workbook(*rows, folder=tmp_path)
    with pytest.raises(InputError) as caught:
        list(Source(path).items())
    assert str(caught.value) == f"{path}{message}"


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of("a.csv"), "is a ZIP archive; unpack it and name a file in it"),
        (zip_of("mimetype", "content.xml"), "is an OpenDocument file; save it as .xlsx or CSV"),
        (zip_of("xl/workbook.bin"), "is an Excel file of the kind .xlsb; save it as .xlsx"),
        (zip_of("a.csv")[:40], "is a damaged Excel or ZIP file: "),
        (zip_of("xl/workbook.xml"), "Excel that is damaged or not supported: "),
        (gzip.compress(zip_of("xl/workbook.xml"), mtime=0), "is a ZIP file inside gzip; decompress it first"),
        (
            bytes.fromhex("d0cf11e0a1b11ae1"),
            "is an old or locked Excel file; save it as .xlsx without a",
        ),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_what_is_no_workbook_says_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.xlsx"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Source(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_workbook_with_a_changed_byte_is_read_or_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = workbook(["id", "text"], *([f"q{n}", f"Größe {n}"] for n in range(8)), folder=tmp_path)
    content, errors = path.read_bytes(), list[str]()
    for place in range(4, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            list(Source(path).items())
        except InputError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert all(error.startswith(str(path)) and "\n" not in error for error in errors)
