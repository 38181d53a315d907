"""`headrace embed`: the command, its dry run and its mistakes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from click.testing import CliRunner

from headrace.cli.main import cli

EMBED = ("embed", "questions.csv", "--column", "text", "--model", "priced")
URL = "http://127.0.0.1:9/v1"
PRICES = '[cost.prices.priced]\ninput = "1000"\noutput = "0"\n'


@pytest.fixture
def invoke(questions: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process; no endpoint is there, and a token costs a tenth of a cent."""
    monkeypatch.chdir(questions.parent)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    Path("headrace.toml").write_text(PRICES)

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, [*EMBED, "--base-url", URL, *arguments], prog_name="headrace")
        return result.exit_code, result.output

    return run


def test_a_killed_command_continues_and_pays_for_no_row_twice(
    headrace: Any,
    invoke: Callable[..., tuple[int, str]],
    serving: Callable[..., Any],
    counts: Callable[[str], dict[str, Any]],
) -> None:
    arguments = ("--out", "v.npy", "--batch-size", "10", "--max-in-flight", "2", "--dimensions", "8")
    journal = Path("v.npy.jsonl")
    with serving("--latency", "50ms") as url:
        with headrace.start(*EMBED, *arguments, env={"OPENAI_BASE_URL": url}) as killed:
            until = time.monotonic() + 30
            while not journal.exists() or journal.read_bytes().count(b"\n") < 40:
                assert time.monotonic() < until
                time.sleep(0.01)
            killed.kill()
        done = journal.read_bytes().count(b"\n")
        code, text = invoke(*arguments, "--base-url", url)
        requests = counts(url)["requests"]
    assert (code, f"before     {done} done" in text) == (0, True)
    assert f"{300 - done} succeeded, 0 failed" in text
    assert 30 <= requests <= 32, "only calls in flight were made again"
    assert numpy.load("v.npy").shape == (300, 8)
    assert json.loads(Path("v.npy.ids.json").read_bytes())[299] == "Q299"


def test_a_summary_names_the_table_the_cost_and_the_rows_without_a_vector(
    invoke: Callable[..., tuple[int, str]], questions: Path, endpoint: str
) -> None:
    questions.write_text("id,text\na,A rake\nb,\n")
    code, text = invoke("--out", "v.npy", "--base-url", endpoint)
    assert code == 1
    for line in (
        "  failures   1 input_error: questions.csv:3: column 'text' is empty, "
        "and endpoints embed no empty text",
        "  tokens     2 in, 0 out",
        "  cost       $0.0020",
        "  output     v.npy.jsonl",
        "  table      v.npy: 1 row without a vector, filled with NaN: 'b'",
    ):
        assert line in text.splitlines()
    code, text = invoke("--out", "v.parquet", "--json", "--base-url", endpoint)
    assert (json.loads(text)["table"], code) == ("v.parquet", 1)
    assert len(pandas.read_parquet("v.parquet")["embedding"][0]) == 256


def test_both_forms_are_written_from_one_journal(
    invoke: Callable[..., tuple[int, str]], endpoint: str
) -> None:
    arguments = ("--out", "v.jsonl", "--dimensions", "4", "--base-url", endpoint)
    assert invoke(*arguments, "--table", "v.npy")[0] == 0
    code, text = invoke(*arguments, "--table", "v.parquet")
    assert (code, "before     300 done" in text, "table      v.parquet" in text) == (0, True, True)
    column = pandas.read_parquet("v.parquet")["embedding"]
    assert (numpy.stack(column) == numpy.load("v.npy")).all()


def test_a_budget_is_for_all_sessions(invoke: Callable[..., tuple[int, str]], endpoint: str) -> None:
    arguments = ("--out", "o.jsonl", "--batch-size", "10", "--max-in-flight", "1", "--base-url", endpoint)
    code, text = invoke(*arguments, "--budget", "0.5")
    assert (code, "Stopped: not sent: this call may cost" in text) == (1, True)
    left = 300 - Path("o.jsonl").read_bytes().count(b"\n")
    assert 0 < left < 300
    code, text = invoke(*arguments, "--budget", "0.5")
    assert f"{left} of 300 items are left unsent" in text
    code, text = invoke(*arguments, "--budget", "5")
    assert (code, "300 of 300 items done" in text) == (0, True)


def test_a_dry_run_estimates_requests_tokens_and_cost(invoke: Callable[..., tuple[int, str]]) -> None:
    code, text = invoke("--out", "v.parquet", "--dry-run")
    assert code == 0
    assert text.splitlines() == [
        *("--- Q000", "Frage 0", "--- Q001", "Frage 1", "--- Q002", "Frage 2"),
        f"2 requests with 300 texts would be sent to {URL}; nothing was.",
        "  tokens     about 647 in",
        "  cost       estimated: $0.6470",
    ]


def test_each_command_names_the_other_one(invoke: Callable[..., tuple[int, str]]) -> None:
    Path("questions.csv").write_text('{"custom_id":"a","url":"/v1/embeddings","body":{"input":"x"}}')
    code, text = invoke("--out", "v.npy")
    assert (code, text.endswith("whose lines are whole requests; use headrace run\n")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--out", "v.csv"],
            "--out v.csv: CSV has no vectors; name a file that ends in .parquet, .npy or .jsonl",
        ),
        (
            ["--out", "v.npy", "--column", "txt"],
            "questions.csv:2: no column 'txt' for the text; did you mean 'text'?",
        ),
        (
            ["--out", "v.npy", "--batch-size", "3000"],
            "--batch-size 3000: must be a number of texts from 1 to 2048",
        ),
        (["--out", "-", "--json"], "--out -: leave out --json; stdout has only the lines"),
        (
            ["--out", "v.npy", "--extra-body", "input=1"],
            "--extra-body: input is in each request already; leave it out here",
        ),
        (["--out", "-", "--fresh"], "--out -: leave out --fresh; stdout cannot be read again"),
        (["--out", "v.npy", "--quiet", "--verbose"], "--quiet: leave out --verbose"),
    ],
)
def test_mistakes_are_one_line_with_the_names_of_options(
    invoke: Callable[..., tuple[int, str]], questions: Path, arguments: list[str], line: str
) -> None:
    before = sorted(questions.parent.iterdir())
    assert invoke(*arguments) == (2, f"headrace: {line}\n")
    assert sorted(questions.parent.iterdir()) == before
