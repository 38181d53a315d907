"""`headrace run --out`: stdout, tables, and outputs that do not fit."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli.main import cli

ASK = ("run", "questions.csv", "--prompt", "{id}: {text}", "--model", "m")
URL = "http://127.0.0.1:9/v1"
LOST = "out.jsonl: it was deleted during the run, and its lines are lost; to begin anew, run the same command"

WRITABLE = "make it writable, or name another file"


@pytest.fixture
def refused(questions: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command in this process, and returns its only line; no endpoint is there."""
    monkeypatch.chdir(questions.parent)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")

    def run(*arguments: str) -> str:
        before = sorted(questions.parent.rglob("*"))
        result = CliRunner().invoke(cli, [*ASK, "--base-url", URL, *arguments], prog_name="headrace")
        assert result.exit_code == 2
        assert sorted(questions.parent.rglob("*")) == before, "nothing was written"
        (line,) = result.output.splitlines()
        return line.removeprefix("headrace: ")

    return run


FORMS = "name a table (.csv, .parquet), or a file for lines (.jsonl)"
NO_OUTPUTS = {
    "/dev/full": "/dev/full: is a device; the output must be a file, or - for stdout",
    "/dev/null": "/dev/null: is a device; the output must be a file, or - for stdout",
    "pipe": "pipe: is a pipe; the output must be a file, or - for stdout",
    "folder": "folder: is a directory; name a file in it",
    "folder/": "folder: is a directory; name a file in it",
    "no/o.jsonl": "no/o.jsonl: the directory no does not exist; create it first",
    "no/o.csv": "no/o.csv: the directory no does not exist; create it first",
    "dangling": "dangling: the directory {folder}/no does not exist; create it first",
    "o.xlsx": f"o.xlsx: no output is .xlsx; {FORMS}",
    "o.TSV": f"o.TSV: no output is .tsv; {FORMS}",
    "o.csv.gz": f"o.csv.gz: no output is .gz; {FORMS}",
    "circle": f"circle: cannot be written: Too many levels of symbolic links; {WRITABLE}",
    "questions.csv/o.jsonl": f"questions.csv/o.jsonl: cannot be written: Not a directory; {WRITABLE}",
    "questions.csv": "questions.csv: is the input; name another file for the output",
    "link": "link: is the input; name another file for the output",
    "old.csv": "old.csv: exists, but old.csv.jsonl, the journal of its run, does not; name another file",
    "x" * 300: f"{'x' * 300}: cannot be written: File name too long; {WRITABLE}",
}


@pytest.mark.parametrize("out", NO_OUTPUTS)
def test_an_output_that_cannot_be_one_is_refused_in_one_line(
    questions: Path, refused: Callable[..., str], out: str
) -> None:
    folder = questions.parent
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("questions.csv")
    (folder / "dangling").symlink_to("no/o.jsonl")
    (folder / "circle").symlink_to("circle")
    (folder / "old.csv").write_text("mine\n")
    for more in ((), ("--fresh",), ("--dry-run",)):
        assert refused("--out", out, *more) == NO_OUTPUTS[out].format(folder=folder)


def test_a_read_only_folder_is_refused_in_one_line(questions: Path, refused: Callable[..., str]) -> None:
    folder = questions.with_name("locked")
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the user is root, who may write everywhere but there
        folder = Path("/sys/kernel")
        if not folder.exists():
            pytest.skip("no read-only folder")
    with pytest.raises(OSError, match=r"o\.jsonl") as failed:
        os.open(folder / "o.jsonl", os.O_CREAT | os.O_WRONLY)
    reason = failed.value.strerror
    expected = f"{folder}/o.jsonl: cannot be written: {reason}; {WRITABLE}"
    assert refused("--out", f"{folder}/o.jsonl") == expected


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-", "--json"), "--out -: leave out --json; stdout has only the lines"),
        (
            ("-", "--table", "t.csv"),
            "--out -: leave out --table; a table needs an output that can be read again",
        ),
        (
            ("-", "--retry-failed"),
            "--out -: leave out --retry-failed (--only failed); stdout cannot be read again",
        ),
        (
            ("-", "--only", "failed"),
            "--out -: leave out --retry-failed (--only failed); stdout cannot be read again",
        ),
        (("-", "--changed", "resend"), "--out -: leave out --changed; stdout cannot be read again"),
        (("-", "--keep-done"), "--out -: leave out --keep-done; stdout cannot be read again"),
        (("-", "--fresh"), "--out -: leave out --fresh; stdout cannot be read again"),
        (("o.csv", "--table", "t.csv"), "--table: the output is a table already; leave it out"),
        (
            ("o.jsonl", "--only", "all"),
            "invalid value for '--only': 'all': must be failed, ids:FILE or filter:CONDITION; "
            "see headrace run --help",
        ),
        (
            ("o.jsonl", "--only", "ids:"),
            "invalid value for '--only': 'ids:': must be failed, ids:FILE or filter:CONDITION; "
            "see headrace run --help",
        ),
        (("o.jsonl", "--only", "ids:none.txt"), "--only none.txt: No such file or directory"),
        *(
            (
                ("o.jsonl", "--only", "failed", "--only", second),
                "--only: give it once; join conditions with and, like filter:price > 10 and stock > 0, "
                "and add --retry-failed for items that failed",
            )
            for second in ("failed", "ids:ids.txt", "filter:price > 10")
        ),
        *(
            (
                ("o.jsonl", "--fresh", *more),
                f"--fresh: begins a new output; leave out {name}, or --fresh",
            )
            for more, name in (
                (("--keep-done",), "--keep-done"),
                (("--changed", "resend"), "--changed"),
                (("--only", "failed"), "--retry-failed (--only failed)"),
                (("--keep-done", "--retry-failed"), "--retry-failed (--only failed), --keep-done"),
            )
        ),
        (
            ("foreign.jsonl",),
            "foreign.jsonl: exists, but foreign.jsonl.journal does not identify its run; choose another "
            "--out, or keep it as another file with --fresh",
        ),
    ],
)
def test_options_that_do_not_fit_the_output_are_refused(
    questions: Path, refused: Callable[..., str], arguments: tuple[str, ...], line: str
) -> None:
    questions.with_name("foreign.jsonl").write_text("{}\n")
    assert refused("--out", *arguments) == line


@pytest.mark.parametrize("redirect", ["pipe", "file"])
def test_dev_stdout_is_refused_and_names_the_way_to_stdout(
    headrace: Any, questions: Path, redirect: str
) -> None:
    command = [*headrace.command, *ASK, "--out", "/dev/stdout"]
    with questions.with_name("o.txt").open("wb") as file:
        done = subprocess.run(
            command,
            cwd=questions.parent,
            env=headrace.environment,
            stdout=subprocess.PIPE if redirect == "pipe" else file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    what = {
        "pipe": "is a pipe; the output must be a file",
        "file": "stdout is written to this file; name another file",
    }
    assert done.returncode == 2
    assert done.stderr == f"headrace: /dev/stdout: {what[redirect]}, or - for stdout\n"
    assert questions.with_name("o.txt").read_bytes() == b""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_lines_on_stdout_and_all_else_on_stderr(headrace: Any, questions: Path, processes: str) -> None:
    result = headrace.run(*ASK, "--out", "-", "--processes", processes)
    assert result.code == 0
    assert len({json.loads(line)["custom_id"] for line in result.out.splitlines()}) == 300
    assert result.err.splitlines()[0] == "300 of 300 items done"
    assert result.err.splitlines()[-1] == "  output     stdout"
    assert [each.name for each in questions.parent.iterdir()] == ["questions.csv"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_closed_pipe_ends_the_run_quietly(headrace: Any, questions: Path, processes: str) -> None:
    ask = (*ASK, "--out", "-", "--processes", processes, "--max-in-flight", "4")
    with headrace.start(*ask) as process:
        assert process.stdout.readline().startswith('{"id":')
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 1


def test_an_interrupted_run_to_stdout_does_not_claim_that_it_continues(
    headrace: Any, questions: Path, serving: Callable[..., Any]
) -> None:
    ask = (*ASK, "--out", "-", "--max-in-flight", "4")
    with serving("--latency", "100ms") as url, headrace.start(*ask, env={"OPENAI_BASE_URL": url}) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.fullmatch(r"[12]\d\d of 300 items are left unsent\.", err.splitlines()[-1])


def test_an_interrupted_run_leaves_the_table_of_its_output(
    headrace: Any,
    in_process: Any,
    questions: Path,
    serving: Callable[..., Any],
    lines_of: Callable[[str], list[Any]],
) -> None:
    ask = (*ASK, "--out", "o.csv", "--max-in-flight", "20", "--verbose")
    with serving("--latency", "100ms") as url, headrace.start(*ask, env={"OPENAI_BASE_URL": url}) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "\n  output     o.csv.jsonl\n  table      o.csv\n" in out
    with questions.with_name("o.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert 0 < len(ids) < 300
    assert ids == sorted(line["custom_id"] for line in lines_of("o.csv.jsonl"))
    again = in_process.run(*ask[:-1], "--json")
    assert json.loads(again.out)["done_before"] == len(ids)
    assert (json.loads(again.out)["out"], json.loads(again.out)["table"]) == ("o.csv.jsonl", "o.csv")


def test_only_the_items_of_a_file_are_sent(in_process: Any, questions: Path) -> None:
    questions.with_name("ids.txt").write_text("Q007\nQ003\n")
    ask = (*ASK, "--out", "o.csv", "--only")
    assert in_process.run(*ask, "ids:ids.txt").code == 0
    assert [line[:4] for line in questions.with_name("o.csv").read_text().splitlines()[1:]] == [
        "Q003",
        "Q007",
    ]
    questions.with_name("ids.txt").write_text("Q007\nQ300\n")
    unknown = in_process.run(*ask, "ids:ids.txt")
    assert unknown.code == 2
    assert unknown.err == (
        "headrace: ids.txt:2: no item of questions.csv has the id 'Q300'; correct the ids, nothing was sent\n"
    )


def test_an_output_that_is_deleted_during_the_run_is_named(
    in_process: Any,
    questions: Path,
    scripted_endpoint: Callable[..., Any],
    lines_of: Callable[[str], list[Any]],
) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    reply = json.dumps({"choices": [choice]}).encode()

    def answer(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        if number == 30:
            questions.with_name("out.jsonl").unlink()
        return 200, reply, {}

    ask = (*ASK, "--out", "out.jsonl", "--max-in-flight", "2", "--limit", "40")
    with scripted_endpoint(answer) as endpoint:
        stopped = in_process.run(*ask, OPENAI_BASE_URL=endpoint.url)
        assert (stopped.code, stopped.err) == (1, f"headrace: {LOST} again\n")
        assert in_process.run(*ask, OPENAI_BASE_URL=endpoint.url).code == 0
    assert len(lines_of("out.jsonl")) == 40
