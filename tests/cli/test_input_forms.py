"""`headrace run` with the forms in which rows come: pipes, encodings, odd files, files that change."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import CliRunner

from headrace.cli.main import cli

ASK = ("--prompt", "{id}: {text}", "--model", "m", "--out", "out.jsonl")
ROWS = [{"id": f"Q{n}", "text": f"Größe {n}"} for n in range(20)]
CSV = "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in ROWS)
Lines = Callable[[str], list[dict[str, Any]]]


def ids(lines: list[dict[str, Any]]) -> set[str]:
    return {line["custom_id"] for line in lines}


@pytest.mark.parametrize(
    ("input", "stdin"),
    [("<(cat in.csv)", ""), ("/dev/stdin", "< <(cat in.csv)")],
)
def test_pipes_of_the_shell_are_read(
    headrace: Any, tmp_path: Path, lines_of: Lines, input: str, stdin: str
) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    command = f"{shlex.join(headrace.command)} run {input} {shlex.join(ASK)} {stdin}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=headrace.environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert ids(lines_of("out.jsonl")) == {row["id"] for row in ROWS}


def test_a_named_pipe_is_read(in_process: Any, tmp_path: Path, lines_of: Lines) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=[json.dumps(ROWS)])
    writer.start()
    result = in_process.run("run", "pipe", *ASK)
    writer.join()
    assert result.code == 0, result.err
    assert ids(lines_of("out.jsonl")) == {row["id"] for row in ROWS}


def test_excel_in_a_table_out(in_process: Any, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "text", "n"], ["a", "Größe", 1], ["b", None, 2.5]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "in.xlsx")
    result = in_process.run("run", "in.xlsx", *ASK, "--table", "t.csv")
    assert result.code == 0, result.err
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert header.startswith("id,text,n,answer,")
    assert [row.split(",")[:3] for row in rows] == [["a", "Größe", "1"], ["b", "", "2.5"]]


def test_an_encoding_is_advised_and_taken(in_process: Any, tmp_path: Path, lines_of: Lines) -> None:
    (tmp_path / "in.csv").write_bytes(CSV.replace(",", ";").encode("cp1252"))
    result = in_process.run("run", "in.csv", *ASK)
    assert (result.code, result.err) == (
        2,
        "headrace: in.csv:2: not UTF-8, but probably cp1252; name the encoding with --encoding\n",
    )
    result = in_process.run("run", "in.csv", *ASK, "--encoding", "cp1252", "--dry-run")
    assert "user: Q0: Größe 0" in result.out
    assert in_process.run("run", "in.csv", *ASK, "--encoding", "cp1252").code == 0


@pytest.mark.parametrize(
    ("content", "prompt"),
    [
        ("a\x1b[31m,b\n1,2\n", "{c}"),
        ("id,b\n\x1b]0;x\x07,1\n\x1b]0;x\x07,2\n", "{b}"),
        ("id,b\n\x1b[2J,1\n", "{b}\x1b[31m{b}"),
        ("\x1b[31m\n1,2\n", "{b}"),
        (f"{'a' * 200_000},b\n1,2\n", "{c}"),
        ("\x9b31m,b\u202e\n1,2\n", "{c}"),
    ],
)
def test_nothing_in_the_input_reaches_the_terminal_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, prompt: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(content)
    output = invoke("in.csv", "--prompt", prompt, "--dry-run")
    assert output.replace("\n", "").isprintable()
    assert len(output) < 3000


def test_the_name_of_a_file_is_escaped_too() -> None:
    output = invoke("\x1b[31m.csv", "--prompt", "{a}")
    assert output == "headrace: \\x1b[31m.csv: No such file or directory\n"


def invoke(input: str, *options: str) -> str:
    """Standard output and error of `headrace run` in this process."""
    endpoint = ("--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    arguments = ["run", input, "--out", "out.jsonl", *endpoint, *options]
    return CliRunner().invoke(cli, arguments, prog_name="headrace").output


def answer(content: str) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_input_that_grows_ends_the_run_with_a_line(
    in_process: Any, tmp_path: Path, lines_of: Lines, scripted_endpoint: Callable[..., Any], processes: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(CSV)

    def respond(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        if number == 1:
            with path.open("a") as file:
                file.write("new,row\n")
        return 200, answer(prompt), {}

    with scripted_endpoint(respond) as endpoint:
        options = (
            "--base-url",
            endpoint.url,
            "--processes",
            processes,
            "--max-in-flight",
            "2",
            "--table",
            "t.csv",
        )
        result = in_process.run("run", "in.csv", *ASK, *options)
        size = len(CSV.encode())
        assert result.code == 1
        assert result.out.splitlines()[-1] == (
            f"Stopped: in.csv: grew from {size} to {size + 8} bytes since it was first read; "
            "finished items are kept, run again to continue with the new content. "
            "0 of 20 items are left unsent."
        )
        assert "  table " not in result.out
        assert ids(lines_of("out.jsonl")) == {row["id"] for row in ROWS}
        path.write_text(CSV)
        result = in_process.run("run", "in.csv", *ASK, *options)
    assert (result.code, endpoint.requests) == (0, len(ROWS))
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + len(ROWS)
