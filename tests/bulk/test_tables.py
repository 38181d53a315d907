"""The table of a run's finished items."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Source, run, write_table
from headrace.bulk.tables import Table
from headrace.errors import InputError
from headrace.testing import FakeEndpoint

OWN = ["answer", "error", "finish_reason", "attempts", "elapsed", "cost"]


def line(index: int, id: str, text: str | None = "yes", **notes: Any) -> str:
    """An output line; without ``text``, the line of a failed item."""
    body = {"choices": [{"message": {"content": text}}]}
    failed = text is None
    record = {
        "id": f"headrace-{index}",
        "custom_id": id,
        "response": None if failed else {"status_code": 200, "request_id": None, "body": body},
        "error": {"code": "connect_error", "message": "refused"} if failed else None,
        "headrace": {"attempts": 1, "elapsed": 0.5, **notes},
    }
    return json.dumps(record) + "\n"


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def parquet_of(path: Path) -> Any:
    return pyarrow.parquet.read_table(path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three rows of JSONL with different members."""
    path = tmp_path / "three.jsonl"
    rows = [
        {"n": 1, "id": "a", "big": 2**70, "mixed": 1, "float": 1},
        {"n": 2, "id": "b", "mixed": "x", "float": 1.5, "nested": {"k": [1]}},
        {"n": None, "id": "c", "mixed": True, "flag": False},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_finished_items_in_the_order_of_the_input(three: Path, out: Path) -> None:
    out.write_text(line(2, "c", None) + line(0, "a", 'say "hi",\nthen', cost="4E-7", attempts=2))
    write_table(three.with_name("t.csv"), Source(three), out)
    names = ["id", "n", "big", "mixed", "float", "nested", "flag", *OWN]
    first, last = table_of(three.with_name("t.csv"))
    assert list(first) == names
    assert list(first.values()) == [
        *("a", "1", str(2**70), "1", "1", "", ""),
        *('say "hi",\nthen', "", "", "2", "0.5", "0.0000004"),
    ]
    assert list(last.values()) == [
        *("c", "", "", "true", "", "", "false"),
        *("", "connect_error: refused", "", "1", "0.5", ""),
    ]


def test_parquet_stores_numbers_as_numbers(three: Path, out: Path) -> None:
    out.write_text(line(1, "b") + line(0, "a", cost="0.00004") + line(2, "c", None))
    write_table(three.with_name("t.parquet"), Source(three), out)
    table = parquet_of(three.with_name("t.parquet"))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "string",
        "n": "int64",
        "big": "string",
        "mixed": "string",
        "float": "double",
        "nested": "string",
        "flag": "bool",
        "answer": "string",
        "error": "string",
        "finish_reason": "string",
        "attempts": "int64",
        "elapsed": "double",
        "cost": "decimal128(38, 18)",
    }
    assert table.column("id").to_pylist() == ["a", "b", "c"]
    assert table.column("n").to_pylist() == [1, 2, None]
    assert table.column("mixed").to_pylist() == ["1", "x", "true"]
    assert table.column("nested").to_pylist() == [None, '{"k":[1]}', None]
    assert table.column("answer").to_pylist() == ["yes", "yes", None]
    assert table.column("cost").to_pylist() == [Decimal("0.00004"), None, None]


def test_columns_of_parquet_input_keep_their_types_and_values(tmp_path: Path, out: Path) -> None:
    number = 1000
    columns = {
        "text": [f"t{n}" for n in range(number)],
        "when": pyarrow.array(range(number), pyarrow.timestamp("ns", "UTC")),
        "day": [dt.date(2024, 1, 1)] * number,
        "price": pyarrow.array([Decimal(n) for n in range(number)], pyarrow.decimal128(20, 5)),
        "tags": [["a"] * (n % 3) for n in range(number)],
        "kind": pyarrow.array(["u", "v"] * (number // 2)).dictionary_encode(),
        "raw": [b"\xff"] * number,
        "id": pyarrow.array(range(number), pyarrow.uint16()),
        "nothing": pyarrow.nulls(number),
    }
    given_table = pyarrow.table(columns)
    pyarrow.parquet.write_table(given_table, tmp_path / "in.parquet", row_group_size=300)
    done = [n for n in range(number) if n % 7]
    out.write_text("".join(line(n, str(n), f"answer {n}") for n in reversed(done)))
    write_table(tmp_path / "t.parquet", Source(tmp_path / "in.parquet"), out)
    table = parquet_of(tmp_path / "t.parquet")
    assert table.column_names == ["id", *(name for name in columns if name != "id"), *OWN]
    assert table.select(list(columns)).cast(given_table.schema) == given_table.take(done)
    assert table.column("answer").to_pylist() == [f"answer {n}" for n in done]
    write_table(tmp_path / "t.csv", Source(tmp_path / "in.parquet", limit=3), out)
    assert [(row["id"], row["tags"], row["day"], row["price"]) for row in table_of(tmp_path / "t.csv")] == [
        ("1", '["a"]', "2024-01-01", "1.00000"),
        ("2", '["a","a"]', "2024-01-01", "2.00000"),
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_without_an_id_column_are_those_of_the_output(tmp_path: Path, out: Path, suffix: str) -> None:
    path, table = tmp_path / "in", tmp_path / f"t.{suffix}"

    def columns() -> list[str]:
        if suffix == "csv":
            return list(table_of(table)[0])
        names: list[str] = parquet_of(table).column_names
        return names

    path.write_text("text\nx\n")
    out.write_text(line(0, next(Source(path).items()).id))
    write_table(table, Source(path), out)
    assert columns() == ["custom_id", "text", *OWN]
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), path)
    write_table(table, Source(path), out)
    assert columns() == ["custom_id", "text", *OWN]
    path.write_text('{"custom_id": "b-1", "url": "/v1/x", "body": {"model": "m"}}\n')
    out.write_text(line(0, "b-1"))
    write_table(table, Source(path), out)
    assert columns() == ["custom_id", *OWN]


def test_the_answer_is_the_choice_and_empty_for_a_failed_item(three: Path, out: Path) -> None:
    other = json.loads(line(1, "b", "dunno"))
    other["error"] = {"code": "answer_error", "message": "none of the choices"}
    embedding = json.loads(line(2, "c"))
    embedding["response"]["body"] = {"data": [{"embedding": [0.1]}]}
    out.write_text(line(0, "a", "**Garten**", answer="Garten") + json.dumps(other) + "\n")
    with out.open("a") as file:
        file.write(json.dumps(embedding) + "\n")
    write_table(three.with_name("t.csv"), Source(three), out)
    rows = table_of(three.with_name("t.csv"))
    assert [(row["answer"], row["error"]) for row in rows] == [
        ("Garten", ""),
        ("", "answer_error: none of the choices"),
        ("", ""),
    ]


def test_members_of_an_answer_are_columns_with_distinct_names(three: Path, out: Path) -> None:
    first = {"n": 7, "brand": "Acme", "cost": 1, "size": 2}
    out.write_text(
        line(0, "a", "{}", answer=first)
        + line(1, "b", "{}", answer={"brand": ["x"], "size": 2.5})
        + line(2, "c", None)
    )
    for name in ("t.csv", "t.parquet"):
        write_table(three.with_name(name), Source(three), out)
    table = parquet_of(three.with_name("t.parquet"))
    own = ["answer_n", "brand", "answer_cost", "size", *OWN[1:]]
    assert table.column_names[7:] == own
    assert table.column("brand").to_pylist() == ["Acme", '["x"]', None]
    assert table.column("size").to_pylist() == [2.0, 2.5, None]
    assert table.column("n").to_pylist() == [1, 2, None]
    assert [row["answer_n"] for row in table_of(three.with_name("t.csv"))] == ["7", "", ""]


def test_an_answer_column_of_the_input_is_kept(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in.csv").write_text("id,answer,error\na,gold,none\n")
    out.write_text(line(0, "a", "silver"))
    write_table(tmp_path / "t.csv", Source(tmp_path / "in.csv"), out)
    [row] = table_of(tmp_path / "t.csv")
    assert (row["answer"], row["error"]) == ("gold", "none")
    assert (row["answer_answer"], row["answer_error"]) == ("silver", "")


def test_answers_that_look_like_formulas_are_written_unchanged(three: Path, out: Path) -> None:
    texts = ["=1+1", "-5", "+49 30 123"]
    out.write_text("".join(line(n, id, text) for n, (id, text) in enumerate(zip("abc", texts, strict=True))))
    write_table(three.with_name("t.csv"), Source(three), out)
    assert [row["answer"] for row in table_of(three.with_name("t.csv"))] == texts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1), st.randoms())
def test_any_text_round_trips_in_its_row(tmp_path: Path, rows: list[tuple[str, str]], chance: Any) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows))
    ids = [item.id for item in Source(source).items()]
    lines = [line(n, id, answer) for n, (id, (_, answer)) in enumerate(zip(ids, rows, strict=True))]
    chance.shuffle(lines)
    out.write_text("".join(lines))
    write_table(tmp_path / "t.csv", Source(source), out)
    write_table(tmp_path / "t.parquet", Source(source), out)
    assert [(row["text"], row["answer"]) for row in table_of(tmp_path / "t.csv")] == rows
    table = parquet_of(tmp_path / "t.parquet")
    assert list(zip(table["text"].to_pylist(), table["answer"].to_pylist(), strict=True)) == rows


def test_many_rows_are_row_groups_of_bounded_size(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.bulk.tables.parquet_writer._GROUP_BYTES", 20_000)
    (tmp_path / "in.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(1000)))
    out.write_text("".join(line(n, str(n), "x" * 100) for n in range(1000)))
    write_table(tmp_path / "t.parquet", Source(tmp_path / "in.csv"), out)
    with pyarrow.parquet.ParquetFile(tmp_path / "t.parquet") as file:
        assert file.metadata.num_rows == 1000
        assert 4 <= file.num_row_groups <= 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.xlsx", "must end in .csv or .parquet"),
        ("three.csv", "is the input or the output"),
        ("no/t.csv", "cannot be written: No such file or directory"),
        ("folder.csv", "is a directory"),
        ("../{folder}/out.csv", "is the input or the output"),
    ],
)
def test_an_impossible_table_is_an_error_at_once(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "three.csv").write_text("id\na\n")
    (tmp_path / "folder.csv").mkdir()
    path = tmp_path / name.format(folder=tmp_path.name)
    with pytest.raises(InputError) as caught:
        Table(path, Source(tmp_path / "three.csv"), tmp_path / "out.csv")
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "three.csv"]


def test_without_pyarrow_a_parquet_table_is_an_error_at_once(
    three: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'headrace\[parquet\]'"):
        Table(three.with_name("t.parquet"), Source(three), out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            line(0, "x"),
            r"out\.jsonl: no line belongs to a row of .*three\.jsonl; name the input and the id column",
        ),
        ("rubbish\n" + line(0, "a"), "out.jsonl: is not the output of a run: its first line is not JSON"),
        (line(0, "a") + "rubbish\n", "out.jsonl:2: not an output line of headrace run"),
        (
            line(0, "a").replace("headrace-0", "batch_1"),
            "not an output line of headrace run",
        ),
        (None, "No such file"),
    ],
)
def test_the_output_of_another_source_leaves_the_old_table(
    three: Path, out: Path, content: str | None, message: str
) -> None:
    table = three.with_name("t.csv")
    table.write_text("old")
    if content is not None:
        out.write_text(content)
    with pytest.raises(InputError, match=message):
        write_table(table, Source(three), out)
    assert table.read_text() == "old"
    assert not [path for path in three.parent.iterdir() if path.suffix == ".new"]


def test_half_a_line_is_left_out_and_only_the_owner_can_read_the_table(three: Path, out: Path) -> None:
    table = three.with_name("t.csv")
    table.write_text("old")
    table.chmod(0o644)
    out.write_text(line(1, "b") + line(0, "a")[:50])
    write_table(table, Source(three), out)
    assert [row["id"] for row in table_of(table)] == ["b"]
    assert table.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_error_names_the_output_with_the_finished_items(three: Path, out: Path) -> None:
    out.write_text(line(0, "a"))
    table = Table(three.with_name("t.csv"), Source(three), out)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"t\.csv: No space left on device; finished items are in .*out"):
            table.write()
    assert not [path for path in three.parent.iterdir() if path.name.startswith("t.csv")]


@pytest.mark.anyio
async def test_a_stopped_run_writes_its_table(
    products: Path, read_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    out, table = products.with_name("out.jsonl"), products.with_name("t.csv")
    endpoint = FakeEndpoint("a", "b", "c", 401, 401, 401, otherwise="d")
    async with endpoint.client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out, table=table)
    assert summary.stopped_by is not None
    assert [(row["id"], row["answer"]) for row in table_of(table)] == [("P0", "a"), ("P1", "b"), ("P2", "c")]
    async with endpoint.client() as client:
        await run(client, products, prompt="{name}", out=out, table=table)
    rows = table_of(table)
    assert [row["id"] for row in rows] == [f"P{n}" for n in range(10)]
    assert rows[0]["description"] == "Größe 0"
    assert {row["answer"] for row in rows[3:]} == {"d"}


@pytest.mark.anyio
async def test_an_impossible_table_is_an_error_before_anything_is_sent(products: Path) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        with pytest.raises(InputError, match="must end in"):
            await run(client, products, prompt="{name}", out=products.with_name("o"), table="t.xml")
    assert not endpoint.attempts
