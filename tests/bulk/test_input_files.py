"""Input files: Parquet, and text compressed with gzip or zstd."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Source, Task
from headrace.bulk.template import Template
from headrace.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Row = dict[str, Any]

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | texts
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}


def as_csv(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["left", "right"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_jsonl(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[Row], **types: Any) -> bytes:
    file = io.BytesIO()
    fields = {name: pyarrow.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
    pyarrow.parquet.write_table(pyarrow.table(fields), file, row_group_size=100)
    return file.getvalue()


def as_arrow() -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"a": [1]}), file)
    return file.getvalue()


def as_excel() -> bytes:
    file, book = io.BytesIO(), openpyxl.Workbook()
    book.worksheets[0].append(["a"])
    book.save(file)
    return file.getvalue()


def rows_of(path: Path) -> list[Any]:
    return [dict(item.row) for item in Source(path).items()]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "input"
    path.write_bytes(content)
    return path


def one_value(folder: Path, value: Any, kind: Any = None) -> Any:
    """The value in a row for a Parquet value."""
    [row] = rows_of(written(folder, as_parquet([{"x": value}], x=kind)))
    return row["x"]


quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@quick
@given(rows=st.lists(st.fixed_dictionaries({"left": texts, "right": texts}), min_size=1))
def test_csv_round_trip(tmp_path: Path, compression: str, rows: list[Row]) -> None:
    assert rows_of(written(tmp_path, COMPRESSIONS[compression](as_csv(rows)))) == rows


@pytest.mark.parametrize("compression", COMPRESSIONS)
@quick
@given(rows=st.lists(st.fixed_dictionaries({"left": scalars, "right": st.lists(scalars)}), min_size=1))
def test_jsonl_round_trip(tmp_path: Path, compression: str, rows: list[Row]) -> None:
    assert rows_of(written(tmp_path, COMPRESSIONS[compression](as_jsonl(rows)))) == rows


@quick
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | texts,
                "number": st.none() | st.integers(-(2**63), 2**63 - 1),
                "float": st.none() | finite,
                "flag": st.none() | st.booleans(),
                "list": st.none() | st.lists(texts, max_size=3),
                "nested": st.fixed_dictionaries({"a": st.none() | st.integers(0, 9)}),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    times=st.integers(1, 60),
)
def test_parquet_round_trip_with_any_row_groups(tmp_path: Path, rows: list[Row], times: int) -> None:
    types = {
        "text": pyarrow.string(),
        "number": pyarrow.int64(),
        "float": pyarrow.float64(),
        "flag": pyarrow.bool_(),
        "list": pyarrow.list_(pyarrow.string()),
        "nested": pyarrow.struct([("a", pyarrow.int64())]),
    }
    assert rows_of(written(tmp_path, as_parquet(rows * times, **types))) == rows * times


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        (dt.date(2024, 2, 29), None, "2024-02-29"),
        (dt.time(12, 30), None, "12:30:00"),
        (dt.datetime(2024, 2, 29, 12), pyarrow.timestamp("ms"), "2024-02-29T12:00:00"),
        (1_700_000_000_123_456_789, pyarrow.timestamp("ns"), "2023-11-14T22:13:20.123456"),
        (1_700_000_000_000_000_000, pyarrow.timestamp("ns", "UTC"), "2023-11-14T22:13:20Z"),
        ([1], pyarrow.list_(pyarrow.timestamp("ns")), ["1970-01-01T00:00:00"]),
        ([1], pyarrow.list_(pyarrow.timestamp("ns"), 1), ["1970-01-01T00:00:00"]),
        ({"t": 1_001}, pyarrow.struct([("t", pyarrow.time64("ns"))]), {"t": "00:00:00.000001"}),
        (10**9, pyarrow.duration("ns"), "PT1S"),
        ([("k", 1)], pyarrow.map_(pyarrow.string(), pyarrow.timestamp("ns")), {"k": "1970-01-01T00:00:00"}),
        ([(1, "v")], pyarrow.map_(pyarrow.int64(), pyarrow.string()), {"1": "v"}),
        (Decimal("0E-10"), pyarrow.decimal128(38, 10), "0.0000000000"),
        (Decimal("12.50"), None, "12.50"),
        (b"\xff\x00", None, "/wA="),
        (float("nan"), None, None),
        (float("-inf"), None, None),
        (None, pyarrow.null(), None),
        ("a", pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "a"),
        ("a", pyarrow.large_string(), "a"),
        (["a"], pyarrow.large_list(pyarrow.large_string()), ["a"]),
        ({"d": Decimal("1.0"), "b": [b"a"]}, None, {"d": "1.0", "b": ["YQ=="]}),
    ],
)
def test_parquet_values_that_json_lacks_are_strings(tmp_path: Path, value: Any, kind: Any, read: Any) -> None:
    assert one_value(tmp_path, value, kind) == read


def test_null_is_an_empty_string_in_a_prompt(tmp_path: Path) -> None:
    rows = [{"id": "a", "x": None, "y": [1]}]
    for content in (as_parquet(rows), as_jsonl(rows)):
        source = Source(written(tmp_path, content))
        assert Template("<{x}|{y}>").render(next(source.items()).row) == "<|[1]>"


def test_parquet_is_never_the_batch_format_and_may_have_numeric_ids(tmp_path: Path) -> None:
    source = Source(written(tmp_path, as_parquet([{"url": "u", "body": "b", "id": n} for n in range(300)])))
    assert source.kind == "parquet"
    items = list(source.items())
    assert [(item.index, item.line, item.id) for item in items[127:130]] == [
        (127, 128, "127"),
        (128, 129, "128"),
        (129, 130, "129"),
    ]
    assert len(items) == 300
    assert [item.id for item in Source(source.name, limit=2).items()] == ["0", "1"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_batch_file_is_detected(tmp_path: Path, compression: str) -> None:
    batch = {"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    source = Source(written(tmp_path, COMPRESSIONS[compression](json.dumps(batch).encode())))
    assert source.kind == "batch"
    [item] = source.items()
    assert item.request is not None
    assert item.request.path == "/chat/completions"


def test_files_with_several_members_or_skippable_frames_are_read_completely(tmp_path: Path) -> None:
    rows = [{"id": str(n), "x": "y"} for n in range(4)]
    halves = as_jsonl(rows[:2]), as_jsonl(rows[2:])
    assert rows_of(written(tmp_path, b"".join(map(gzip.compress, halves)))) == rows
    skipped = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert rows_of(written(tmp_path, skipped + b"".join(map(zstd.compress, halves)))) == rows


ROWS = [{"id": f"q{n}", "text": f"Größe {n} {n * n}"} for n in range(8)]
OTHER_FILES: dict[str, Callable[[], bytes]] = {"a.arrow": as_arrow, "a.xlsx": as_excel}
FILES = {
    "a.jsonl.gz": gzip.compress(as_jsonl(ROWS), mtime=0),
    "a.csv.zst": zstd.compress(as_csv([{"left": row["id"], "right": row["text"]} for row in ROWS])),
    "a.parquet": as_parquet(ROWS),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_anywhere_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, FILES[name]
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError) as caught:
            InputCheck(Task(Source(path), Template("{a}"), "m", on_missing="fail-row")).finish()
        message = str(caught.value)
        assert message.startswith(str(path)), cut
        assert "\n" not in message
        if cut > 4:
            assert "cut short" in message or "Parquet" in message


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_changed_byte_is_read_or_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, FILES[name]
    messages = []
    for place in range(4, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            InputCheck(Task(Source(path), Template("{a}"), "m", on_missing="fail-row")).finish()
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert all(each.startswith(str(path)) and "\n" not in each for each in messages)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"left,right\na,b\n", mtime=0) + b"garbage", "damaged: Not a gzipped file"),
        (gzip.compress(b"", mtime=0), ": the file is empty"),
        (gzip.compress(b'{"a": 1}\n{"a": \n', mtime=0), ":2: not JSON"),
        (zstd.compress(b"a,b\n1\n"), ":2: 1 values, but the header has 2"),
        (gzip.compress(FILES["a.parquet"], mtime=0), "is Parquet inside gzip; decompress it first"),
        (as_parquet([{"id": ""}]), ", row 1: 'id' must be a string that is not empty"),
        (as_parquet([{"id": "x"}, {"id": "y"}, {"id": "x"}]), ", row 3: duplicate id 'x', first in row 1;"),
    ],
)
def test_errors_inside_a_compressed_file_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:  # noqa: PT012 - the source may find it, or the check
        task = Task(Source(written(tmp_path, content)), Template("{a}"), "m", on_missing="fail-row")
        InputCheck(task).finish()
    assert message in str(caught.value)


def test_a_column_missing_in_parquet_is_named_with_the_row(tmp_path: Path) -> None:
    path = written(tmp_path, as_parquet([{"text": "x"}]))
    with pytest.raises(InputError, match=r"input, row 1: no column 'txt' .* did you mean 'text'\?"):
        InputCheck(Task(Source(path), Template("{txt}"), "m")).finish()
    with pytest.raises(InputError, match=r"input: no column 'txt'; did you mean 'text'\?"):
        Source(path, "txt")


def test_the_digest_is_of_the_compressed_file(tmp_path: Path) -> None:
    plain = as_jsonl(ROWS)
    digests = {Source(written(tmp_path, make(plain))).digest() for make in COMPRESSIONS.values()}
    assert len(digests) == 3


def in_a_process(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.parametrize("head", [b'{"a": "', b"a,b\n"])
def test_a_line_that_decompresses_to_a_gigabyte_does_not_fill_memory(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "bomb"
    with zstd.open(path, "wb") as file:
        file.write(head)
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
    assert path.stat().st_size < 1 << 20
    message, memory = in_a_process(
        "import pathlib, headrace\nfrom headrace.bulk import Source\n"
        f"try:\n    list(Source({str(path)!r}).items())\n"
        "except headrace.InputError as error:\n    print(error)\n"
        # Not getrusage, which counts the memory of the process that started this one as well.
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    ).splitlines()
    assert message.endswith("a line of more than 64 MiB")
    assert int(memory) >> 10 < 500


@pytest.mark.parametrize(
    ("missing", "name", "message"),
    [
        ("pyarrow", "a.parquet", "is Parquet; pip install 'headrace[parquet]' to read it"),
        ("pyarrow", "a.arrow", "is Arrow; pip install 'headrace[parquet]' to read it"),
        ("openpyxl", "a.xlsx", "is Excel; pip install 'headrace[excel]' to read it"),
        (zstd.__name__, "a.csv.zst", "is compressed with zstd; pip install 'headrace[cli]' to read it"),
    ],
)
def test_a_missing_library_is_named_with_the_pip_command(
    tmp_path: Path, missing: str, name: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name] if name in FILES else OTHER_FILES[name]())
    program = (
        f"import sys; sys.modules[{missing!r}] = None\nimport headrace\nfrom headrace.bulk import Source\n"
        f"try:\n    Source({str(path)!r})\nexcept headrace.InputError as error:\n    print(error)"
    )
    assert in_a_process(program) == f"{path}: {message}"


def test_plain_text_needs_no_extra_library(products: Path) -> None:
    program = (
        f"import sys\nfrom headrace.bulk import Source\nlist(Source({str(products)!r}).items())\n"
        "print({'pyarrow', 'openpyxl', 'zipfile', 'backports.zstd', 'compression.zstd'} & sys.modules.keys())"
    )
    assert in_a_process(program) == "set()"
