"""`headrace run --budget` and `--dry-run --sample`, as a user runs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Lines = Callable[[str], list[dict[str, Any]]]
ASK = ("--prompt", "{id}: {text}", "--model", "deepseek-v3.2", "--out", "out.jsonl")


def spent(lines: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(line["headrace"]["cost"]) for line in lines), Decimal(0))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_budget_covers_all_sessions_and_can_be_raised(
    in_process: Any, questions: Path, lines_of: Lines, processes: str
) -> None:
    bounded = (*ASK, "--processes", processes)
    first = in_process.run("run", "questions.csv", *bounded, "--budget", "0.005")
    assert first.code == 1
    assert "because no max_tokens is set (4,096 output tokens are assumed)" in first.out
    assert "or set max_tokens" in first.out
    so_far = len(lines_of("out.jsonl"))
    # A limit of the answers does not change the run.
    more = in_process.run("run", "questions.csv", *bounded, "--budget", "0.005", "--param", "max_tokens=60")
    assert more.code == 1, more.err
    assert "because" not in more.out
    assert len(lines_of("out.jsonl")) > so_far
    assert Decimal("0.004") < spent(lines_of("out.jsonl")) <= Decimal("0.005")
    again = in_process.run("run", "questions.csv", *bounded, "--budget", "0.005", "--param", "max_tokens=60")
    assert "0 succeeded" in again.out
    raised = in_process.run("run", "questions.csv", *bounded, "--budget", "1", "--param", "max_tokens=60")
    assert raised.code == 0, raised.err
    assert len(lines_of("out.jsonl")) == 300


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (("--budget", "1"), {"HEADRACE_POLICIES": "retry"}, "'cost' is not among policies=['retry']"),
        ((), {"HEADRACE_POLICIES": "retry", "HEADRACE_COST_BUDGET": "1"}, "'cost' is not among"),
        (("--budget", "1", "--model", "nobodys"), {}, "model 'nobodys' has no price"),
        (("--sample", "3"), {}, "--sample: needs --dry-run"),
    ],
)
def test_a_budget_without_a_price_is_an_error_before_anything_is_sent(
    in_process: Any, questions: Path, tmp_path: Path, options: tuple[str, ...], environment: Any, message: str
) -> None:
    result = in_process.run("run", "questions.csv", *ASK, *options, **environment)
    assert (result.code, message in result.err) == (2, True), result.err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_dry_run_without_max_tokens_does_not_guess_the_output(in_process: Any, questions: Path) -> None:
    result = in_process.run("run", "questions.csv", *ASK, "--dry-run")
    assert "out unknown, because no max_tokens is set" in result.out
    assert re.search(r"cost       estimated: \$0\.00\d\d plus the cost of the answers", result.out)
    assert "--sample 20" in result.out


def test_a_sample_is_sent_to_estimate_the_cost(
    in_process: Any, questions: Path, endpoint: str, counts: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    before = counts(endpoint)["requests"]
    result = in_process.run("run", "questions.csv", *ASK, "--dry-run", "--sample", "20")
    assert result.code == 0, result.err
    assert counts(endpoint)["requests"] - before == 20
    assert "20 of 300 rows were sent" in result.out
    assert "20 succeeded, 0 failed" in result.out
    assert re.search(r"tokens     about [\d,]+ in, [\d,]+ out for all 300 rows", result.out)
    assert "an estimate" in result.out
    estimate = Decimal(re.findall(r"about \$(\d\.\d+) for all", result.out)[0])
    assert not (tmp_path / "out.jsonl").exists()
    # The estimate is right, because all answers of the endpoint are similar.
    run = in_process.run("run", "questions.csv", *ASK)
    cost = Decimal(re.findall(r"cost       \$(\d\.\d+)", run.out)[0])
    assert abs(estimate - cost) < cost / 4


def test_a_failed_sample_shows_its_error(in_process: Any, questions: Path) -> None:
    result = in_process.run(
        "run", "questions.csv", *ASK, "--dry-run", "--sample", "3", OPENAI_BASE_URL="http://127.0.0.1:9/v1"
    )
    assert "0 succeeded, 3 failed" in result.out
    assert "unknown: no row was answered" in result.out
