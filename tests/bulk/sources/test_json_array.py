"""JSON arrays of objects, which are read as a stream."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Source, Task
from headrace.bulk.template import Template
from headrace.errors import InputError

texts = st.text(st.characters(codec="utf-8")) | st.text('"\\{}[],: \n')
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "in.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path) -> list[Any]:
    source = Source(path)
    assert source.kind == "json"
    return [dict(item.row) for item in source.items()]


@quick
@given(
    rows=st.lists(st.dictionaries(texts, values, max_size=4), min_size=1, max_size=5),
    indent=st.none() | st.integers(0, 2),
    is_ascii=st.booleans(),
    block=st.integers(1, 40),
    around=st.text(" \n\r\t", max_size=3),
)
def test_any_array_is_read_back_in_blocks_of_any_size(
    tmp_path: Path, rows: list[Any], indent: int | None, is_ascii: bool, block: int, around: str
) -> None:
    path = written(tmp_path, around + json.dumps(rows, indent=indent, ensure_ascii=is_ascii) + around)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("headrace.bulk.sources.json_array_rows._BLOCK", block)
        assert rows_of(path) == rows


def test_arrays_of_pandas_and_polars_are_read(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "text": f'Größe "{n}"', "tags": ["a", "b"], "at": {"x": n}} for n in range(3)]
    pandas.DataFrame(rows).to_json(tmp_path / "in.json", orient="records", indent=2)
    assert rows_of(tmp_path / "in.json") == rows
    polars.DataFrame(rows).write_json(tmp_path / "in.json")
    assert rows_of(tmp_path / "in.json") == rows


def test_a_marked_or_compressed_array_is_read(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, '\ufeff[{"a": 1}]')) == [{"a": 1}]
    assert rows_of(written(tmp_path, gzip.compress(b'[{"a": 1},\n{"a": 2}]'))) == [{"a": 1}, {"a": 2}]


def test_items_are_named_by_their_row(tmp_path: Path) -> None:
    items = list(Source(written(tmp_path, '[{"id": 7}, {"id": "x"}]')).items())
    assert [(item.index, item.line, item.id) for item in items] == [(0, 1, "7"), (1, 2, "x")]
    with pytest.raises(InputError, match=r"in\.json, row 2: duplicate id 'x', first in row 1; name"):
        InputCheck(
            Task(Source(written(tmp_path, '[{"id": "x"}, {"id": "x"}]')), Template("{id}"), "m")
        ).finish()


def test_a_csv_header_may_begin_with_a_bracket(tmp_path: Path) -> None:
    source = Source(written(tmp_path, "[name],[price]\nHose,9\n"))
    assert (source.kind, source.columns) == ("csv", ["[name]", "[price]"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", ": has no rows; add at least one"),
        ('[{"a": 1}, 2]', ", row 2: must be a JSON object, not a number"),
        ("[1, 2]", ", row 1: must be a JSON object, not a number"),
        ('["a"]', ", row 1: must be a JSON object, not a string"),
        ("[[1]]", ", row 1: must be a JSON object, not an array"),
        ('[{"a": 1}, null]', ", row 2: must be a JSON object, not null"),
        ('[{"a": 1}, true]', ", row 2: must be a JSON object, not a boolean"),
        ('[{"a": 1},]', ", row 2: not JSON: must begin with {, not with ']'"),
        ('[{"a": 1}, ', ": the array is cut short; copy or download the file again"),
        ("[", ": the array is cut short; copy or download the file again"),
        ('[{"a": 1}', ", row 1: behind the object must be a comma or ], but the file ends"),
        ('[{"a": 1} {"a": 2}]', ", row 1: behind the object must be a comma or ], but there is '{'"),
        ('[{"a": 1}, {"a"', ", row 2: the object is cut short"),
        ('[{"a": "x', ", row 1: the object is cut short"),
        ('[{"a": 1]]', ", row 1: not JSON: "),
        ('[{"a": nan}]', ", row 1: not JSON: "),
        ('[{"a": 1}]\n{"a": 2}', ": behind the array is '{'; remove what follows it"),
        ('[{"a": 1}, \x1b[31m]', ", row 2: not JSON: must begin with {, not with '\\x1b'"),
        ('{\n  "a": 1\n}', ":1: not a whole JSON object; write each object on one line (JSONL), or all"),
        ('{"a": 1,\n "b": 2}', ":1: not a whole JSON object; write each object on one line (JSONL), or all"),
    ],
)
def test_a_bad_array_is_one_line_with_the_row(tmp_path: Path, content: str, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        list(Source(path).items())
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_an_array_cut_anywhere_is_an_error_with_its_name(tmp_path: Path) -> None:
    content = json.dumps([{"id": f"q{n}", "text": 'a "b" {c} [d]', "x": [1, {"y": {}}]} for n in range(3)])
    for cut in range(1, len(content)):
        path = written(tmp_path, content[:cut])
        with pytest.raises(InputError, match=r"in\.json.*(cut short|the file ends)"):
            list(Source(path).items())


def memory_and_output(program: str) -> tuple[int, str]:
    """The highest memory of a Python program in MiB, and what it printed."""
    program += (
        "\nimport pathlib\n"
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    *output, memory = done.stdout.splitlines()
    return int(memory) >> 10, "\n".join(output)


def test_memory_is_bounded_by_the_largest_object(tmp_path: Path) -> None:
    path = tmp_path / "in.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        row = json.dumps({"text": "x" * (1 << 20)}).encode()
        file.write(b"[" + b",\n".join([row] * 4))
        for _ in range(11):
            file.write(b",\n" + b",\n".join([row] * 4))
        file.write(b"]")
    memory, output = memory_and_output(
        "from headrace.bulk import Source\n"
        f"print(sum(len(item.row['text']) for item in Source({str(path)!r}).items()))"
    )
    assert int(output) == 48 << 20
    assert memory < 80


def test_an_object_that_does_not_end_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'[{"a": "')
        for _ in range(72):
            file.write(b"x" * (1 << 20))
    memory, output = memory_and_output(
        "import headrace\nfrom headrace.bulk import Source\n"
        f"try:\n    Source({str(path)!r})\nexcept headrace.InputError as error:\n    print(error)"
    )
    assert output == f"{path}, row 1: the object is larger than 64 MiB"
    assert memory < 350
