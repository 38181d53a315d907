"""What reads the output of a run says in one line what another file is."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from headrace.bulk import Source, run, write_table
from headrace.bulk.report import read_statistics
from headrace.bulk.tables import lines_of
from headrace.errors import InputError
from headrace.testing import FakeEndpoint

LINE = '{"id": "headrace-0", "custom_id": "a", "response": null, "error": null, "headrace": '
NOTES = '{"attempts": 1, "elapsed": 0.1}}'


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "x")
    return file.getvalue()


def arrow(write: Callable[..., None], *options: str) -> bytes:
    file = io.BytesIO()
    write(pyarrow.table({"id": ["a"]}), file, *options)
    return file.getvalue()


OTHERS = {
    "a CSV table": (b"id,answer\r\na,b\r\n", "is not the output of a run: its first line is not JSON; name"),
    "CSV without a line feed": (b"id,answer", "is not the output of a run: its first line is not JSON; name"),
    "JSON lines": (
        b'{"id": "a", "text": "b"}\n',
        "is not the output of a run: its first line is other JSON; name",
    ),
    "JSON without a line feed": (
        b'{"id": "a"}',
        "is not the output of a run: its first line is other JSON; name",
    ),
    "a JSON array": (b'[\n{"id": "a"}\n]', "is not the output of a run: its first line is not JSON; name"),
    "an array on a line": (
        b'[{"id": "a"}]',
        "is not the output of a run: its first line is other JSON; name",
    ),
    "OpenAI's output": (
        LINE.replace("headrace-0", "batch_req_1").replace(', "headrace": ', "}\n").encode(),
        "is not the output of a run: its first line is other JSON; name",
    ),
    "a sidecar": (b'{"headrace":2,"prompt":"x"}\n', "is the sidecar of a run; name its output, "),
    "gzip": (gzip.compress(b"x" * 99), "is compressed with gzip; decompress it, then name"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00\x01", "is compressed with zstd; decompress it, then name"),
    "Parquet": (arrow(pyarrow.parquet.write_table), "is a Parquet file; name"),
    "Arrow": (arrow(pyarrow.feather.write_feather, "uncompressed"), "is an Arrow file; name"),
    "Excel": (zipped(), "is an Excel file or a ZIP file; name"),
    "a report": (b"<!doctype html>\n<html>", "is an HTML page; name"),
    "text": (b"\n\n", "is not the output of a run: its first line is not JSON; name"),
    "binary": (bytes(range(256)), "is not the output of a run: its first line is not JSON; name"),
    "a directory": (None, "is a directory; name the output of a run"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_no_output_is_named_in_one_line(products: Path, kind: str) -> None:
    content, message = OTHERS[kind]
    path = products.with_name("other.journal" if kind == "a sidecar" else "other")
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    for read in (
        read_statistics,
        lambda out: write_table(products.with_name("t.csv"), Source(products), out),
    ):
        with pytest.raises(InputError) as refused:
            read(path)
        said = str(refused.value)
        assert said.startswith(f"{path}: {message}")
        assert "\n" not in said
    assert kind != "a sidecar" or said.endswith(f"name its output, {path.with_name('other')}")


def test_the_torn_first_line_of_an_output_is_no_other_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for cut in range(len(LINE + NOTES)):
        out.write_text((LINE + NOTES)[:cut], encoding="utf-8")
        with pytest.raises(InputError, match="holds no finished item"):
            read_statistics(out)


@pytest.mark.parametrize("foreign", ["x", LINE + "1}", '{"headrace": 2}', '{"id": "a"}'])
def test_a_damaged_line_is_named_by_its_place(tmp_path: Path, foreign: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(f"{LINE}{NOTES}\n{foreign}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"^{re.escape(str(out))}:2: not an output line of headrace run: "):
        read_statistics(out)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
async def test_the_table_of_a_run_leads_to_its_lines(products: Path, name: str) -> None:
    table = products.with_name(name)
    async with FakeEndpoint().client() as client:
        await run(client, products, prompt="{name}", out=table)
    assert lines_of(table) == Path(f"{table}.jsonl")
    assert lines_of(products) == products
    table.unlink()  # as after a run that was killed
    assert read_statistics(lines_of(table)).items == 10
    write_table(products.with_name("again.csv"), Source(products), table)
    assert len(products.with_name("again.csv").read_text(encoding="utf-8").splitlines()) == 11
