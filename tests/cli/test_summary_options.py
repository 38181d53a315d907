"""`headrace run` with --fail-on, --json and --quiet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ASK = ("run", "questions.csv", "--prompt", "{id}: {text}", "--model", "m", "--out", "out.jsonl")
CUT = (*ASK, "--limit", "20", "--param", "max_tokens=3")


def test_cut_off_answers_are_counted_and_fail_if_told_so(in_process: Any, questions: Path) -> None:
    kept = in_process.run(*CUT)
    assert kept.code == 0, kept.err
    assert "20 answers were cut off at the output limit; raise max_tokens" in kept.out
    options = ("--limit", "20", "--param", "max_tokens=3", "--fail-on", "length", "--processes", "2")
    failed = in_process.run(*ASK[:-1], "failed.jsonl", *options)
    assert failed.code == 1, failed.err
    assert "failures   20 answer_error length: the answer was cut off" in failed.out


def test_an_unknown_name_is_one_line_with_the_known_ones(in_process: Any, questions: Path) -> None:
    result = in_process.run(*ASK, "--fail-on", "lenght")
    assert result.code == 2
    assert result.err == (
        "headrace: --fail-on 'lenght': must be none, or some of length, content_filter, refusal\n"
    )


def test_json_is_the_only_line_of_stdout(
    in_process: Any, questions: Path, serving: Callable[..., Any]
) -> None:
    quick = {"HEADRACE_RETRY_ATTEMPTS": "1", "HEADRACE_BREAKER_MINIMUM_CALLS": "1000"}
    with serving("--errors", "30%") as url:
        result = in_process.run(*ASK, "--json", "--table", "t.csv", OPENAI_BASE_URL=url, **quick)
    found = json.loads(result.out)
    assert result.out.count("\n") == 1
    assert (result.code, found["total"], found["done"], found["table"]) == (1, 300, 300, "t.csv")
    assert found["failed"] == sum(group["number"] for group in found["failures"]) > 0
    assert float(found["cost"] or 0) >= 0


def test_quiet_prints_nothing(headrace: Any, questions: Path) -> None:
    result = headrace.run(*ASK, "--quiet", "--processes", "2")
    assert (result.code, result.out, result.err) == (0, "", "")
    result = headrace.run(*ASK, "-q", "--json")
    assert (result.code, result.err, json.loads(result.out)["done_before"]) == (0, "", 300)


def test_quiet_prints_errors(in_process: Any, questions: Path, scripted_endpoint: Callable[..., Any]) -> None:
    mistake = in_process.run(*ASK, "--quiet", "--id-column", "nothing")
    assert (mistake.code, mistake.out, len(mistake.err.splitlines())) == (2, "", 1)
    with scripted_endpoint(
        lambda path, number: (401, b'{"error": {"message": "no such key"}}', {})
    ) as endpoint:
        for more in (("--quiet",), ("--quiet", "--json")):
            stopped = in_process.run(*ASK, *more, OPENAI_BASE_URL=endpoint.url)
            assert stopped.code == 1
            assert len(stopped.err.splitlines()) == 1
            assert stopped.err.startswith("headrace: Stopped: ")
            assert "no such key" in stopped.err
            assert stopped.out.startswith("{") == ("--json" in more)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quiet", "--verbose"), "--quiet: leave out --verbose"),
        (("--dry-run", "--json"), "--dry-run: leave out --json and --quiet"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    in_process: Any, questions: Path, options: tuple[str, ...], message: str
) -> None:
    result = in_process.run(*ASK, *options)
    assert (result.code, result.err) == (2, f"headrace: {message}\n")
