"""Sources of items: formats, ids and invalid input."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.input_check import InputCheck
from headrace.bulk.sources import Source
from headrace.bulk.task import Task
from headrace.bulk.template import Template
from headrace.errors import InputError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_and_its_separator_are_detected(tmp_path: Path) -> None:
    for separator in ",;\t":
        source = Source(write(tmp_path / "a", f"name{separator}price\nHose{separator}9\n"))
        assert source.kind == "csv"
        assert [item.row for item in source.items()] == [{"name": "Hose", "price": "9"}]


def test_csv_values_keep_quotes_umlauts_and_line_breaks(tmp_path: Path) -> None:
    source = Source(write(tmp_path / "a.csv", 'a,b\n"ä ""x"", y","1\n2"\n\nz,3\n'))
    items = list(source.items())
    assert [item.row for item in items] == [{"a": 'ä "x", y', "b": "1\n2"}, {"a": "z", "b": "3"}]
    assert [item.line for item in items] == [2, 5]
    assert [item.index for item in items] == [0, 1]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert next(Source(write(tmp_path / "a.csv", "\ufeffid,b\n7,x\n")).items()).id == "7"
    assert next(Source(write(tmp_path / "a.jsonl", '\ufeff{"id": "7"}\n')).items()).id == "7"


def test_jsonl_and_the_batch_format_are_distinguished(tmp_path: Path) -> None:
    assert Source(write(tmp_path / "a", '{"text": "x"}\n')).kind == "jsonl"
    batch = {"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    assert Source(write(tmp_path / "b", json.dumps(batch))).kind == "batch"


def test_ids_come_from_custom_id_then_id_then_the_content_of_the_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,custom_id,sku\n1,c1,s1\n")
    assert next(Source(path).items()).id == "c1"
    assert next(Source(path, "sku").items()).id == "s1"
    assert next(Source(write(path, "id,x\n1,2\n")).items()).id == "1"
    a, b = (item.id for item in Source(write(path, "x\na\nb\n")).items())
    assert len({a, b}) == 2
    ids = [item.id for item in Source(write(path, "x\nnew\nb\na\nb\na\nb\n")).items()]
    assert ids[1:] == [b, a, f"{b}-2", f"{a}-2", f"{b}-3"], "ids do not depend on the place"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", "\n \n", "a.csv: the file is empty"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "a.csv:3: 3 values, but the header has 2"),
        ("a.csv", "a,a\n1,2\n", "a.csv:1: columns 1 and 2 have the same name 'a'; rename one"),
        ("a.csv", 'a,b\n1,2\n"open,2\n', "a.csv:3: unexpected end of data"),
        ("a.csv", b"a,b\n1,2\nM\xfcller,3\n", "a.csv:3: not UTF-8, but probably cp1252; name"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl:2: not JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2: must be a JSON object, not an array"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1: not UTF-8"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "a.jsonl:2: not UTF-8"),
        ("a.jsonl", '{"id": "x"}\n{"id": ""}\n', "a.jsonl:2: 'id' must be a string that is not empty"),
        ("a.jsonl", '{"id": "x"}\n{"ID": "y"}\n', "a.jsonl:2: no column 'id' for the id; known: ID"),
    ],
)
def test_bad_input_is_one_line_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        list(Source(path).items())
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_id_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: No such file"):
        Source(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no column 'skku'; did you mean 'sku'"):
        Source(write(tmp_path / "a.csv", "sku,b\n1,2\n"), "skku")


def test_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    source = Source(write(tmp_path / "a.csv", "id,b\nx,1\ny,2\nx,3\n"))
    with pytest.raises(InputError) as caught:
        InputCheck(Task(source, Template("{b}"), "m")).finish()
    assert str(caught.value) == (
        f"{tmp_path}/a.csv:4: duplicate id 'x', first in line 2; "
        "name a column of distinct ids with id_column="
    )


printable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


@given(st.lists(st.tuples(printable, printable), min_size=1))
def test_any_csv_that_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("left", "right"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())
    assert [tuple(item.row.values()) for item in Source(path).items()] == rows
