"""A bulk run with headrace-cache: items that were answered before are not sent again, and cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_run_with_a_cache_sends_nothing(
    in_process: Any,
    serving: Callable[..., Any],
    counts: Callable[[str], dict[str, Any]],
    lines_of: Callable[[str], list[dict[str, Any]]],
    questions: Path,
    processes: str,
) -> None:
    with serving("--seed", "7") as url:
        settings = {"OPENAI_BASE_URL": url, "HEADRACE_CACHE_PATH": "answers.sqlite"}

        def run(out: str) -> str:
            prompt = ("--prompt", "{id}: {text}", "--model", "deepseek-v3.2", "--processes", processes)
            result = in_process.run("run", "questions.csv", "--out", out, *prompt, **settings)
            assert result.code == 0, result.err
            output: str = result.out
            return output

        first = run("first.jsonl")
        sent = counts(url)
        assert sent["requests"] == 300
        second = run("second.jsonl")
        assert counts(url)["requests"] == 300
    assert "tokens " in first
    assert "cost       $0.0000" not in first
    assert "tokens " not in second, "none were taken"
    assert "cost       $0.0000" in second
    one, two = (
        {line["custom_id"]: line["response"]["body"] for line in lines_of(out)}
        for out in ("first.jsonl", "second.jsonl")
    )
    assert one == two
    assert {line["headrace"]["attempts"] for line in lines_of("second.jsonl")} == {0}
    assert {line["headrace"]["cost"] for line in lines_of("second.jsonl")} == {"0"}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_failed_items_are_sent_past_the_cache(
    in_process: Any,
    serving: Callable[..., Any],
    counts: Callable[[str], dict[str, Any]],
    questions: Path,
    processes: str,
) -> None:
    with serving("--seed", "7") as url:
        settings = {"OPENAI_BASE_URL": url, "HEADRACE_CACHE_PATH": "answers.sqlite"}

        def run(*more: str) -> int:
            # Each answer is cut off after a token, so that it is not one of the choices.
            choices = ("--choices", "garden tools,household goods", "--param", "max_tokens=1")
            prompt = (
                "--prompt",
                "{id}: {text}",
                "--model",
                "deepseek-v3.2",
                "--processes",
                processes,
                *choices,
            )
            result = in_process.run("run", "questions.csv", *prompt, *more, **settings)
            assert result.code == 1, result.out + result.err
            sent: int = counts(url)["requests"]
            return sent

        assert run("--out", "first.jsonl") == 300
        assert run("--out", "second.jsonl") == 300
        assert run("--out", "first.jsonl", "--retry-failed") == 600
