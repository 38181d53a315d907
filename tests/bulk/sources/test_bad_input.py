"""Input that cannot be read: each message is one short line that names the file and says what to do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Source, Task
from headrace.bulk.template import Template
from headrace.errors import InputError

ESCAPE = "\x1b[31m"


def error_of(
    path: str | Path,
    prompt: str = "{a}",
    id_column: str | None = None,
    on_missing: Literal["refuse", "fail-row"] = "fail-row",
) -> str:
    with pytest.raises(InputError) as caught:  # noqa: PT012 - the source may find it, or the check
        task = Task(Source(path, id_column), Template(prompt), "m", on_missing=on_missing)
        InputCheck(task).finish()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty"),
        (b"\n \r\n\t\n", ": the file is empty"),
        (b"\xef\xbb\xbf", ": the file is empty"),
        (b"a,b\n", ": has no rows below its header; add at least one"),
        (b"sep=;\n", ": has no header; put the names of the columns on the first line"),
        (b"a,b,a\n1,2,3\n", ":1: columns 1 and 3 have the same name 'a'; rename one"),
        (b"\na,,,b\n1,2,3,4\n", ":2: columns 2 and 3 have no name; give each a name"),
        (b"a,,\n1,,\n1,,3\n", ":3: the value '3' is in a column without a name; give each column a name"),
        (b'a,b\n1,2\n"x\n', ":3: unexpected end of data; close the quote that begins a value there"),
        (
            b'a,b\n"x \\"y\\"",2\n',
            ":2: ',' expected after '\"'; in a value in quotes, write each quote twice",
        ),
        (b"<!DOCTYPE html>\n<p>Sign in", ": is HTML or XML; convert it to CSV or JSON"),
        (b"a,b\n1,2\n3,\x00\n", ":3: contains a NUL character; remove it"),
        (b"a,\x00b\n1,2\n", ":1: contains a NUL character; remove it"),
        (
            b"\x89PNG\r\n\x1a\n\x00\x00",
            ": is a binary file of an unknown kind; convert it to CSV, ",
        ),
        (b"%PDF-1.7\n", ": is a PDF; headrace run reads tables and lists of objects"),
        (b"BZh91AY&SY\x00", ": is compressed with bzip2; decompress it first, or use gzip or zstd"),
        (b"\xfd7zXZ\x00\x00", ": is compressed with xz; decompress it first, or use gzip or zstd"),
        (b"SQLite format 3\x00\x10", ": is an SQLite database; export a table as CSV"),
        (b"Obj\x01\x04", ": is Avro; convert it to Parquet"),
    ],
)
def test_odd_content_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in"
    path.write_bytes(content)
    error = error_of(path)
    assert error.startswith(f"{path}{message}")
    assert "\n" not in error


def test_a_directory_a_device_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: is a directory; name a file in it"
    assert error_of("/dev/null") == "/dev/null: is a device or a socket; name a file, or pipe one in"
    assert error_of("/dev/zero") == "/dev/zero: is a device or a socket; name a file, or pipe one in"
    assert error_of(tmp_path / "no") == f"{tmp_path}/no: No such file or directory"
    assert error_of(tmp_path / "no" / "in") == f"{tmp_path}/no/in: No such file or directory"


def test_a_fifo_is_read_once_and_can_be_passed_over_again(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    rows = "".join(f"q{n},{'x' * 100}\n" for n in range(10_000))  # more than a pipe holds
    writer = threading.Thread(target=path.write_text, args=[f"id,text\n{rows}"])
    writer.start()
    source = Source(path)
    writer.join()
    for _ in range(2):
        assert sum(1 for _ in source.items()) == 10_000
    source.check_unchanged()
    assert not source.is_at(path)


def test_a_descriptor_by_name_is_read_like_a_stream() -> None:
    read, write = os.pipe()
    os.write(write, b"a,b\n1,2\n")
    os.close(write)
    try:
        assert [item.row for item in Source(f"/dev/fd/{read}").items()] == [{"a": "1", "b": "2"}]
    finally:
        os.close(read)


MANY = [f"column{n}" for n in range(100_000)]
LONG = "y" * 100_000
CASES: list[Callable[[Path], str]] = [
    lambda path: _written(path, f"{','.join(MANY)}\n{','.join(MANY)}\n", "{zzz}"),
    lambda path: _written(path, "{" + ",".join(f'"{name}":1' for name in MANY) + "}\n", "{zzz}"),
    lambda path: _written(path, f"{LONG},{LONG}\n1,2\n"),
    lambda path: _written(path, f"{LONG},b\n1,2\n", "{zzz}"),
    lambda path: _written(path, f"{LONG},b\n1,2\n", "{" + LONG[1:] + "}"),
    lambda path: _written(path, f"id,b\n{LONG},2\n{LONG},2\n"),
    lambda path: _written(path, f"a{ESCAPE},a{ESCAPE}\n1,2\n"),
    lambda path: _written(path, f"a{ESCAPE},b\n1,2\n", "{zzz}"),
    lambda path: _written(path, f"name{ESCAPE},b\n1,2\n", "{name}"),
    lambda path: _written(path, f"id,b\n{ESCAPE},2\n{ESCAPE},2\n"),
    lambda path: _written(path, f'{{"id": {{"{ESCAPE[1:]}\\u001b": 1}}}}\n', "{id.zzz}"),
    lambda path: _written(path, f'[{{"a": 1}}, {ESCAPE}]'),
    lambda path: _written(path, f'{{"a": {ESCAPE}}}'),
    lambda path: _written(path, f"a,b\n{ESCAPE},{ESCAPE},\n"),
    lambda path: _written(path, f'a,b\n"{ESCAPE}"{ESCAPE},1\n'),
    lambda path: _written(path, f"a{ESCAPE}\n1\n", id_column="id"),
    lambda path: _written(path, "a\u202e,b\u009b\u2028\n1,2\n", "{zzz}"),
]


def _written(path: Path, content: str, prompt: str = "What?", id_column: str | None = None) -> str:
    path.write_text(content, encoding="utf-8")
    return error_of(path, prompt, id_column, "refuse")


@pytest.mark.parametrize("case", range(len(CASES)))
def test_quoted_input_is_escaped_and_bounded(tmp_path: Path, case: int) -> None:
    message = CASES[case](tmp_path / "in")
    assert message.isprintable(), message
    assert len(message) < 1500


@settings(deadline=None)
@given(st.text(min_size=1), st.text(), st.text())
def test_any_header_and_id_are_escaped(
    tmp_path_factory: pytest.TempPathFactory, name: str, id: str, other: str
) -> None:
    path = tmp_path_factory.mktemp("in") / "in.csv"
    quoted = [each.encode("utf-8", "replace").decode().replace('"', '""') for each in (name, id, other)]
    path.write_text('id,"{}","{}"\n"{}",1,2\n'.format(*quoted), encoding="utf-8", newline="")
    try:
        InputCheck(Task(Source(path), Template("{id.no}"), "m")).finish()
    except InputError as error:
        message = str(error)
    assert message.isprintable(), message


@pytest.mark.parametrize("form", ["{}\n", "[{}]"])
def test_what_python_and_javascript_write_instead_of_json_is_read(tmp_path: Path, form: str) -> None:
    """`json.dumps` writes NaN; a text that is cut after a number of UTF-16 units ends in half a character."""
    row = '{"id": "\\ud83d", "n": NaN, "m": [-Infinity, 1], "whole": "\\ud83d\\ude00"}'
    (tmp_path / "in").write_text(form.replace("{}", row))
    (item,) = Source(tmp_path / "in").items()
    assert (item.id, item.row) == ("\ufffd", {"id": "\ufffd", "n": None, "m": [None, 1], "whole": "😀"})
