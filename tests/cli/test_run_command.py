"""`headrace run` as a process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lines = Callable[[str], list[dict[str, Any]]]
ASK = ("--prompt", "{id}: {text}", "--model", "deepseek-v3.2", "--out", "out.jsonl")


def test_each_row_of_a_csv_has_an_answer(headrace: Any, questions: Path, lines_of: Lines) -> None:
    result = headrace.run("run", "questions.csv", *ASK)
    assert result.code == 0, result.err
    assert "300 of 300 items done" in result.out
    assert "300 succeeded, 0 failed, 0 retries" in result.out
    for word in ("latency    mean", "p50", "p95", "p99", "tokens", "cost       $0.0", "output     out.jsonl"):
        assert word in result.out
    lines = lines_of("out.jsonl")
    assert {line["custom_id"] for line in lines} == {f"Q{n:03}" for n in range(300)}
    for line in lines:
        assert line["custom_id"] in line["response"]["body"]["choices"][0]["message"]["content"]


def test_resuming_sends_no_finished_item(
    in_process: Any, questions: Path, endpoint: str, counts: Callable[[str], dict[str, Any]]
) -> None:
    assert in_process.run("run", "questions.csv", *ASK).code == 0
    before = counts(endpoint)["requests"]
    result = in_process.run("run", "questions.csv", *ASK)
    assert result.code == 0
    assert "before     300 done, 0 of them failed" in result.out
    assert counts(endpoint)["requests"] == before


def test_answers_are_choices(in_process: Any, questions: Path, lines_of: Lines) -> None:
    result = in_process.run("run", "questions.csv", *ASK, "--choices", "rot, grün ,blau")
    assert result.code == 0
    assert {line["headrace"]["answer"] for line in lines_of("out.jsonl")} <= {"rot", "grün", "blau"}


def test_a_run_over_stdin_can_be_resumed(in_process: Any, lines_of: Lines) -> None:
    piped = "".join(json.dumps({"id": f"Q{n}", "text": "ä"}) + "\n" for n in range(5))
    assert in_process.run("run", "-", *ASK, input=piped).code == 0
    assert len(lines_of("out.jsonl")) == 5
    again = in_process.run("run", "-", *ASK, input=piped)
    assert (again.code, "before     5 done" in again.out) == (0, True)
    longer = in_process.run("run", "-", *ASK, input=piped + '{"id": "Q5", "text": "neu"}\n')
    assert (longer.code, "6 of 6 items done" in longer.out) == (0, True)
    changed = in_process.run("run", "-", *ASK, input=piped.replace("\\u00e4", "o"))
    assert changed.code == 2
    assert "<stdin>:1: the row of 'Q0' has changed since it was done" in changed.err
    assert "with --changed resend" in changed.err


def test_the_batch_format_is_input_and_output(in_process: Any, tmp_path: Path, lines_of: Lines) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hallo"}]}
    embed = {"model": "e", "input": ["a", "b"]}
    lines = [
        {"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions", "body": chat},
        {"custom_id": "embed", "method": "POST", "url": "/v1/embeddings", "body": embed},
        {"custom_id": "wrong", "method": "POST", "url": "/v1/nothing", "body": {"model": "m"}},
    ]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = in_process.run("run", "batch.jsonl", "--out", "out.jsonl")
    assert result.code == 1
    assert "failures   1 status_error" in result.out
    found = {line["custom_id"]: line for line in lines_of("out.jsonl")}
    assert found["chat"]["response"]["body"]["object"] == "chat.completion"
    assert len(found["embed"]["response"]["body"]["data"]) == 2
    assert found["wrong"]["response"]["status_code"] == 404
    assert found["wrong"]["error"]["code"] == "status_error"


def test_faults_are_retried_and_failures_are_sent_again_with_retry_failed(
    in_process: Any, questions: Path, serving: Callable[..., Any], lines_of: Lines
) -> None:
    # Which calls fail depends on their order; without the breaker, the test does not wait for it.
    quick = {"HEADRACE_RETRY_BASE": "0.01", "HEADRACE_BREAKER_MINIMUM_CALLS": "1000"}
    with serving("--errors", "60%", "--seed", "3") as url:
        first = in_process.run("run", "questions.csv", *ASK, OPENAI_BASE_URL=url, **quick)
    assert first.code == 1
    failed = sum(line["error"] is not None for line in lines_of("out.jsonl"))
    assert failed > 0
    assert "add --retry-failed to the same command" in first.out
    second = in_process.run("run", "questions.csv", *ASK, "--retry-failed")
    assert second.code == 0, second.err
    assert f"{failed} succeeded" in second.out
    lines = lines_of("out.jsonl")
    assert len({line["custom_id"] for line in lines}) == len(lines) == 300
    assert not any(line["error"] for line in lines)


def test_without_a_terminal_progress_is_plain_lines(
    headrace: Any, questions: Path, serving: Callable[..., Any]
) -> None:
    with serving("--latency", "1s") as url:
        result = headrace.run("run", "questions.csv", *ASK, "--max-in-flight", "50", OPENAI_BASE_URL=url)
    assert result.code == 0
    assert "/300 · " in result.err
    assert "in flight" in result.err
    assert "\x1b" not in result.err + result.out


def test_verbose_logs_one_line_per_call_and_no_key(headrace: Any, questions: Path) -> None:
    result = headrace.run("run", "questions.csv", *ASK, "--verbose")
    assert result.code == 0
    assert result.err.count("gen_ai.request.model=deepseek-v3.2") == 300
    assert "sk-canary" not in result.err + result.out


def test_the_key_is_in_no_file(in_process: Any, questions: Path, tmp_path: Path) -> None:
    in_process.run("run", "questions.csv", *ASK)
    for path in tmp_path.iterdir():
        assert b"sk-canary" not in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.csv", *ASK], "nothing.csv: No such file or directory"),
        (["questions.csv", "--prompt", "{txt}", *ASK[2:]], "did you mean 'text'?"),
        (["questions.csv", *ASK[2:]], "--prompt is missing"),
        (["questions.csv", *ASK[:2], *ASK[4:]], "no model"),
        (
            ["questions.csv", *ASK[:4], "--out", "no/out.jsonl"],
            "no/out.jsonl: the directory no does not exist; create it first",
        ),
        (["questions.csv", *ASK[:4]], "missing option '--out'"),
        (["questions.csv", *ASK, "--max-in-flight", "0"], "--max-in-flight"),
        (["questions.csv", *ASK, "--base-url", "localhost:80"], "must be like https://host/v1"),
        (["questions.csv", *ASK, "--id-column", "texts"], "did you mean 'text'?"),
        (["double.csv", *ASK], "double.csv:3: duplicate id 'a', first in line 2"),
        (["bad.jsonl", *ASK], "bad.jsonl:2: not JSON"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_sent(
    in_process: Any,
    questions: Path,
    tmp_path: Path,
    endpoint: str,
    counts: Callable[[str], dict[str, Any]],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "double.csv").write_text("id,text\na,1\na,2\n")
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "b"}\n{"id": \n')
    before = counts(endpoint)["requests"]
    result = in_process.run("run", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert counts(endpoint)["requests"] == before
    assert not (tmp_path / "out.jsonl").exists()


def test_settings_come_from_a_file_and_misspelled_ones_are_named(
    headrace: Any, in_process: Any, questions: Path, tmp_path: Path
) -> None:
    (tmp_path / "headrace.toml").write_text('model = "m"\n[retry]\nattempts = 1\n')
    arguments = ("run", "questions.csv", "--prompt", "{text}", "--out", "out.jsonl")
    assert in_process.run(*arguments).code == 0
    (tmp_path / "headrace.toml").write_text('model = "m"\n[retry]\natempts = 1\n')
    result = in_process.run(*arguments)
    assert result.code == 2
    assert "did you mean 'attempts'?" in result.err


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(
    in_process: Any, questions: Path, endpoint: str, counts: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    options = ("--system", "Be brief.", "--param", "max_tokens=100", "--param", "user=me", "--limit", "20")
    before = counts(endpoint)["requests"]
    result = in_process.run("run", "questions.csv", *ASK, *options, "--dry-run")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[:2] == ["--- Q000", "system: Be brief."]
    assert lines[2].startswith("user: Q000: ")
    assert lines[3] == '({"model":"deepseek-v3.2","max_tokens":100,"user":"me"})'
    assert "20 requests would be sent" in result.out
    assert "at most 2,000 out" in result.out
    assert "cost       estimated: $0.0" in result.out
    assert counts(endpoint)["requests"] == before
    assert not (tmp_path / "out.jsonl").exists()


def test_a_run_without_limit_continues_one_with_limit(
    in_process: Any, questions: Path, lines_of: Lines
) -> None:
    first = in_process.run("run", "questions.csv", *ASK, "--limit", "20", "--param", "temperature=0.3")
    assert "20 of 20 items done" in first.out, first.err
    changed = in_process.run("run", "questions.csv", *ASK)
    assert changed.code == 2
    assert "the parameters changed since this journal began" in changed.err
    rest = in_process.run("run", "questions.csv", *ASK, "--param", "temperature=0.3")
    assert "300 of 300 items done" in rest.out, rest.err
    assert "before     20 done" in rest.out
    assert len({line["custom_id"] for line in lines_of("out.jsonl")}) == 300


def test_a_limit_after_a_complete_run_keeps_all_lines(
    in_process: Any, questions: Path, lines_of: Lines
) -> None:
    assert in_process.run("run", "questions.csv", *ASK).code == 0
    limited = in_process.run("run", "questions.csv", *ASK, "--limit", "20", "--retry-failed")
    assert (limited.code, "20 of 20 items done" in limited.out) == (0, True), limited.err
    assert len(lines_of("out.jsonl")) == 300


def test_a_budget_stops_the_run(in_process: Any, questions: Path) -> None:
    result = in_process.run("run", "questions.csv", *ASK, "--budget", "0.001")
    assert result.code == 1
    assert "the budget of 0.001 USD" in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--param", "temperature"), "must be like temperature=0.3"),
        (("--param", "temprature=1"), "did you mean 'temperature'"),
        (("--param", "seed=1", "--param", "seed=2"), "--param seed: is given twice"),
        (("--budget", "much"), "'much': must be an amount in USD"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_a_mistake_in_an_option_is_an_error_before_anything_is_sent(
    in_process: Any, questions: Path, options: tuple[str, ...], message: str
) -> None:
    result = in_process.run("run", "questions.csv", *ASK, *options)
    assert result.code == 2
    assert message in result.err


SCHEMA = {
    "title": "Colour",
    "type": "object",
    "properties": {"colour": {"enum": ["rot", "blau"]}, "shades": {"type": "integer"}},
    "required": ["colour", "shades"],
}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_answers_fit_a_schema(
    in_process: Any, questions: Path, tmp_path: Path, lines_of: Lines, processes: str
) -> None:
    (tmp_path / "colour.json").write_text(json.dumps(SCHEMA))
    result = in_process.run("run", "questions.csv", *ASK, "--schema", "colour.json", "--processes", processes)
    assert result.code == 0, result.err
    answers = [line["headrace"]["answer"] for line in lines_of("out.jsonl")]
    assert len(answers) == 300
    assert all(answer["colour"] in {"rot", "blau"} and answer["shades"] == 0 for answer in answers)
    (tmp_path / "colour.json").write_text(json.dumps(SCHEMA | {"properties": {"a": {"type": "string"}}}))
    changed = in_process.run("run", "questions.csv", *ASK, "--schema", "colour.json")
    assert (changed.code, "the type of the answer changed" in changed.err) == (2, True)


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (None, [], "--schema colour.json: No such file"),
        ("[1]", [], "--schema colour.json: not a JSON object"),
        ('{"type": "objekt"}', [], "--schema: the JSON schema is wrong at $.type"),
        ("{}", ["--choices", "a,b"], "leave out --choices"),
    ],
)
def test_a_bad_schema_is_found_before_anything_is_sent(
    in_process: Any, questions: Path, tmp_path: Path, content: str | None, more: list[str], message: str
) -> None:
    if content is not None:
        (tmp_path / "colour.json").write_text(content)
    result = in_process.run("run", "questions.csv", *ASK, "--schema", "colour.json", *more)
    assert (result.code, message in result.err, result.err.count("\n")) == (2, True, 1), result.err
    assert not (tmp_path / "out.jsonl").exists()
