"""`headrace run` with input files of all formats, and its table."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ASK = ("--prompt", "{id}: {text}", "--model", "deepseek-v3.2", "--out", "out.jsonl")
ROWS = [{"id": f"Q{n:03}", "text": f"Größe {n}"} for n in range(300)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The same rows as Parquet, JSONL.gz and CSV.zst."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    rows = "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in ROWS)
    (tmp_path / "in.csv.zst").write_bytes(zstd.compress(rows.encode()))
    return tmp_path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl.gz", "in.csv.zst"])
def test_a_file_and_stdin_with_the_same_content_are_the_same_run(
    headrace: Any, in_process: Any, files: Path, name: str
) -> None:
    result = in_process.run("run", name, *ASK, "--table", "t.csv")
    assert result.code == 0, result.err
    assert "  table      t.csv" in result.out
    rows = read_csv(files / "t.csv")
    assert [{"id": row["id"], "text": row["text"]} for row in rows] == ROWS
    assert all(row["id"] in row["answer"] and row["attempts"] == "1" for row in rows)
    with (files / name).open() as file, headrace.start("run", "-", *ASK, stdin=file) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "before     300 done" in out) == (0, True), err


def test_csv_and_parquet_tables_are_equal(in_process: Any, files: Path) -> None:
    choices = ("--choices", "rot,grün,blau")
    assert in_process.run("run", "in.parquet", *ASK, *choices, "--table", "t.parquet").code == 0
    assert in_process.run("run", "in.parquet", *ASK, *choices, "--table", "t.csv").code == 0
    table = pyarrow.parquet.read_table(files / "t.parquet")
    rows = read_csv(files / "t.csv")
    own = ["answer", "error", "finish_reason", "attempts", "elapsed", "cost"]
    assert table.column_names == list(rows[0]) == [*ROWS[0], *own]
    assert table["answer"].to_pylist() == [row["answer"] for row in rows]
    assert set(table["answer"].to_pylist()) <= {"rot", "grün", "blau"}
    assert [float(cost) for cost in table["cost"].to_pylist()] == [float(row["cost"]) for row in rows]
    for name in ("t.parquet", "t.csv"):
        assert (files / name).stat().st_mode & 0o777 == 0o600


def test_a_table_after_a_stop_a_kill_and_a_resumed_run(
    headrace: Any, in_process: Any, files: Path, serving: Callable[..., Any]
) -> None:
    command = ("run", "in.parquet", *ASK, "--max-in-flight", "20", "--table", "t.csv")

    def stopped(signal_number: signal.Signals, lines: int) -> int:
        with headrace.start(*command, env={"OPENAI_BASE_URL": url}) as process:
            end = time.monotonic() + 30
            while not (out := files / "out.jsonl").exists() or out.read_bytes().count(b"\n") < lines:
                assert time.monotonic() < end, "the run makes no progress"
                time.sleep(0.005)
            process.send_signal(signal_number)
            process.communicate(timeout=30)
        return int(process.returncode)

    with serving("--latency", "100ms", "--jitter", "50ms") as url:
        assert stopped(signal.SIGINT, 40) == 130
        interrupted = read_csv(files / "t.csv")
        assert len(interrupted) == (files / "out.jsonl").read_bytes().count(b"\n")
        assert [row["id"] for row in interrupted] == sorted(row["id"] for row in interrupted)
        assert stopped(signal.SIGKILL, len(interrupted) + 40) == -signal.SIGKILL
        assert read_csv(files / "t.csv") == interrupted
        result = in_process.run(*command, OPENAI_BASE_URL=url)
    assert result.code == 0, result.err
    assert [row["id"] for row in read_csv(files / "t.csv")] == [row["id"] for row in ROWS]


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl.gz", "in.csv.zst"])
def test_a_file_cut_short_is_an_error_of_one_line(in_process: Any, files: Path, name: str) -> None:
    (files / name).write_bytes((files / name).read_bytes()[:-20])
    result = in_process.run("run", name, *ASK)
    assert result.code == 2
    assert result.err.startswith(f"headrace: {name}: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("table", ["t.txt", "in.csv.zst", "out.jsonl", "no/t.csv"])
def test_an_impossible_table_is_a_mistake_before_anything_is_sent(
    in_process: Any, files: Path, endpoint: str, counts: Callable[[str], dict[str, Any]], table: str
) -> None:
    before = counts(endpoint)["requests"]
    result = in_process.run("run", "in.csv.zst", *ASK, "--table", table)
    assert result.code == 2
    assert result.err.startswith(f"headrace: --table {table}: ")
    assert counts(endpoint)["requests"] == before
    assert not (files / "out.jsonl").exists()


def test_several_processes_write_one_table(in_process: Any, files: Path) -> None:
    result = in_process.run("run", "in.jsonl.gz", *ASK, "--processes", "2", "--table", "t.parquet")
    assert result.code == 0, result.err
    table = pyarrow.parquet.read_table(files / "t.parquet")
    assert table["id"].to_pylist() == [row["id"] for row in ROWS]
