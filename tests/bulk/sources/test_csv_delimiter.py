"""CSV in the dialects of many programs: the delimiter is found, or the message says that it is not clear."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import pandas
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Source
from headrace.errors import InputError

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
names = st.from_regex(r"[a-zäß_]{3,5}( [a-z]{1,5})?", fullmatch=True)  # neither id nor custom_id
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def rows_of(folder: Path, content: str) -> list[dict[str, str]]:
    path = folder / "in.csv"
    path.write_bytes(content.encode())
    source = Source(path)
    assert source.kind == "csv"
    return [dict(item.row) for item in source.items()]


@quick
@given(
    data=st.data(),
    delimiter=st.sampled_from([*",;\t|", *"^~:#`\\¦§\x01\x1f"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table_with_any_delimiter_is_read_back(
    tmp_path: Path, data: st.DataObject, delimiter: str, quoting: Literal[0, 1]
) -> None:
    header = data.draw(st.lists(names, min_size=2, max_size=4, unique=True))
    row = st.lists(texts, min_size=len(header), max_size=len(header))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([header, *rows])
    assert rows_of(tmp_path, text.getvalue()) == [dict(zip(header, row, strict=True)) for row in rows]


ROW = {"id": "q1", "text": 'say "a, b; c|d\te"\nthen'}
FILES = {
    "pandas": pandas.DataFrame([ROW]).to_csv(index=False),
    "pandas with semicolons": pandas.DataFrame([ROW]).to_csv(index=False, sep=";"),
    "pandas with tabs": pandas.DataFrame([ROW]).to_csv(index=False, sep="\t"),
    "polars": polars.DataFrame([ROW]).write_csv(),
    "polars with bars and quotes": polars.DataFrame([ROW]).write_csv(separator="|", quote_style="always"),
    # LibreOffice with "quote all text cells", and lines that end as on Windows
    "LibreOffice": '"id";"text"\r\n"q1";"say ""a, b; c|d\te""\nthen"\r\n',
    # mlr --ocsv --ofs '|' quotes only what must be
    "mlr": 'id|text\nq1|"say ""a, b; c|d\te""\nthen"\n',
    "Excel's first line": 'sep=;\r\nid;text\r\nq1;"say ""a, b; c|d\te""\nthen"\r\n',
    "Excel's first line in quotes": '\ufeff"sep=|"\r\n"id"|"text"\r\nq1|"say ""a, b; c|d\te""\nthen"\r\n',
    "blank lines above": '\n\r\nid,text\nq1,"say ""a, b; c|d\te""\nthen"\n',
}


@pytest.mark.parametrize("program", FILES)
def test_files_of_many_programs_are_read(tmp_path: Path, program: str) -> None:
    assert rows_of(tmp_path, FILES[program]) == [ROW]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        # A text with commas is not a reason to split the header at its comma.
        ("Name;Preis (netto, EUR)\nHose;19,90\nHemd;9,90\n", {"Name": "Hose", "Preis (netto, EUR)": "19,90"}),
        ("a,b;c\n1,2\n3,4\n", {"a": "1", "b;c": "2"}),
        ("a|b,c|d\n1|2|3\n4|5|6\n", {"a": "1", "b,c": "2", "d": "3"}),
        ('"a;b","c"\n1,2\n', {"a;b": "1", "c": "2"}),
        ("a,b,c;d\np;q,r,s\n", {"a": "p;q", "b": "r", "c;d": "s"}),  # more columns are likelier
        ("id, name\n1, hose\n", {"id": "1", " name": " hose"}),
        ("text\nHello: you\nOh: no\n", {"text": "Hello: you"}),
        ("What: now?\nOne\n", {"What: now?": "One"}),  # not in all rows
        ("url:\nhttp://a\nhttp://b\n", {"url:": "http://a"}),  # would be a column without a name
        ("e@mail\na@x.de\nb@y.de\n", {"e@mail": "a@x.de"}),
        ("key: value\nfoo: bar\n", {"key: value": "foo: bar"}),
        ("PAR1,PAR2\n1,2\n", {"PAR1": "1", "PAR2": "2"}),
        # Spreadsheets write delimiters for columns that were used once.
        ("a;b;;\n1;2;;\n", {"a": "1", "b": "2"}),
        (",a\n0,x\n", {"": "0", "a": "x"}),
        ("a;b\n", {}),
    ],
)
def test_the_delimiter_is_the_one_that_fits_the_rows(
    tmp_path: Path, content: str, row: dict[str, str]
) -> None:
    if row:
        assert rows_of(tmp_path, content)[0] == row
    else:
        (tmp_path / "in.csv").write_text(content)
        assert Source(tmp_path / "in.csv").columns == ["a", "b"]


def test_a_quoted_value_longer_than_the_sample_does_not_mislead(tmp_path: Path) -> None:
    text = "line; with, all, | of them\n" * 10_000
    assert rows_of(tmp_path, f'a;b,c\n1;"{text}"\n') == [{"a": "1", "b,c": text}]
    ragged = "".join(f"{n};2,5\n" for n in range(30_000))
    assert len(rows_of(tmp_path, f"a;b, c\n{ragged}")) == 30_000


@pytest.mark.parametrize("content", ["a;b,c\n1;2,5\n3;4,7\n", "a;b,c\n"])
def test_a_header_that_two_delimiters_fit_is_an_error_with_the_way_out(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, content)
    assert str(caught.value) == (
        f"{tmp_path}/in.csv:1: both ',' and ';' could separate the columns; "
        "put a line above the header: sep=, or sep=;"
    )
    with pytest.raises(InputError, match=r"in\.csv:3: both ',' and ';' could"):
        rows_of(tmp_path, f"\n\n{content}")
    rest = content.partition("\n")[2]
    assert [list(row.values()) for row in rows_of(tmp_path, f"sep=;\n{content}x;y\n")] == [
        line.split(";") for line in [*rest.splitlines(), "x;y"]
    ]


def test_lines_are_counted_with_those_above_the_header(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("sep=;\nid;b\nx;1\n\ny;2\n")
    assert [(item.id, item.line) for item in Source(path).items()] == [("x", 3), ("y", 5)]
    path.write_text("\nid;b\nx;1;2\n")
    with pytest.raises(InputError, match=r"in\.csv:3: 3 values, but the header has 2"):
        list(Source(path).items())
