"""Runs that stop at an error that all items share, and runs with replies that contain no answer."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lines = Callable[[str], list[dict[str, Any]]]
ASK = ("run", "rows.csv", "--prompt", "{text}", "--model", "m", "--out", "out.jsonl")
IN_FLIGHT = 10
ROWS = 1200
GO_ON = "run the same command again to continue."


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n" + "".join(f"R{number},Text {number}\n" for number in range(ROWS)))
    return path


def chat(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"model": "m", "choices": [choice]}).encode()


def refusal(message: str, code: str | None = None, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "param": param}}).encode()


CASES: dict[str, tuple[int, bytes, dict[str, str], str]] = {
    "credit": (402, refusal("Insufficient Balance"), {}, "status 402; the account has no credit left"),
    "quota": (429, refusal("You exceeded your quota", "insufficient_quota"), {}, "no credit left; add some"),
    "model": (404, refusal("no such model", "model_not_found"), {}, "no such model (POST"),
    "country": (
        403,
        refusal("no", "unsupported_country_region_territory"),
        {},
        "status 403; the key or",
    ),
    "key": (401, refusal("bad key"), {}, "status 401; the endpoint refuses the key"),
    "method": (405, b"", {}, "status 405; the path does not accept this method; check OPENAI_BASE_URL"),
    "moved": (301, b"", {"Location": "https://x.test/"}, "status 301; redirected to 'https://x.test/'"),
    "parameter": (
        400,
        refusal("too hot", None, "temperature"),
        {},
        "endpoint rejects temperature",
    ),
    "page": (
        200,
        b"<!doctype html><p>Sign in",
        {"Content-Type": "text/html"},
        "does OPENAI_BASE_URL lead to the API?",
    ),
    "come back": (429, refusal("slow down"), {"Retry-After": "3600"}, "asks to retry after 3600 s"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_shared_error_stops_the_run_and_leaves_its_items_unsent(
    in_process: Any, rows: Path, scripted_endpoint: Callable[..., Any], lines_of: Lines, name: str
) -> None:
    status, body, headers, message = CASES[name]
    with scripted_endpoint(lambda prompt, number: (status, body, headers)) as endpoint:
        result = in_process.run(*ASK, "--max-in-flight", str(IN_FLIGHT), OPENAI_BASE_URL=endpoint.url)
    assert result.code == 1
    last = result.out.splitlines()[-1]
    assert last.startswith("Stopped: ")
    assert message in last
    assert last.endswith(f"{ROWS:,} of {ROWS:,} items are left unsent; {GO_ON}")
    assert lines_of("out.jsonl") == []
    # Three items, and those in flight with the last of them. A page is requested three times; while some
    # calls wait for a retry, three others begin.
    assert endpoint.requests <= ((3 + IN_FLIGHT + 3) * 3 if name == "page" else 3 + IN_FLIGHT)


def test_an_endpoint_that_stays_down_is_named_in_the_last_line(in_process: Any, rows: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    result = in_process.run(*ASK, "--wait-for-endpoint", "1s", OPENAI_BASE_URL=url)
    assert result.code == 1
    last = result.out.splitlines()[-1]
    assert "connection refused by 127.0.0.1:" in last
    assert last.endswith(f"{ROWS:,} of {ROWS:,} items are left unsent; {GO_ON}")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_after_a_quota_ran_out_the_same_command_continues(
    in_process: Any, rows: Path, scripted_endpoint: Callable[..., Any], lines_of: Lines, processes: str
) -> None:
    def answer(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        if 500 < number < 1000:
            return 429, refusal("You exceeded your current quota", "insufficient_quota"), {}
        return 200, chat(prompt), {}

    ask = (*ASK, "--max-in-flight", str(IN_FLIGHT), "--processes", processes)
    with scripted_endpoint(answer) as endpoint:
        first = in_process.run(*ask, OPENAI_BASE_URL=endpoint.url)
        assert (first.code, endpoint.requests < 600) == (1, True), first.out
        assert "Stopped: You exceeded your current quota (POST" in first.out.splitlines()[-1]
        assert [line["error"] for line in lines_of("out.jsonl")] == [None] * 500
        endpoint.requests = 1000
        second = in_process.run(*ask, OPENAI_BASE_URL=endpoint.url)
        assert (second.code, endpoint.requests) == (0, 1000 + ROWS - 500), second.out
    texts = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in lines_of("out.jsonl")
    }
    assert texts == {f"R{number}": f"Text {number}" for number in range(ROWS)}


def test_the_summary_groups_failures_with_status_and_first_message(
    in_process: Any, rows: Path, scripted_endpoint: Callable[..., Any]
) -> None:
    def answer(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        row = int(prompt.removeprefix("Text "))
        if row % 10 == 1:
            return 400, refusal("this text is too long", "string_above_max_length"), {}
        if row % 10 == 2:
            return 413, b"", {}
        return 200, chat(prompt), {}

    with scripted_endpoint(answer) as endpoint:
        result = in_process.run(*ASK, "--limit", "30", OPENAI_BASE_URL=endpoint.url)
    assert result.code == 1
    assert "  failures   3 status_error 400: this text is too long (POST /chat/completions" in result.out
    assert "\n             3 status_error 413: no body (POST /chat/completions" in result.out


NON_ANSWERS = {
    "empty object": b"{}",
    "no choices": b'{"choices":[]}',
    "choices null": b'{"choices":null}',
    "detail": b'{"detail":"not now"}',
    "list": b"[1]",
    "string": b'"busy"',
    "zero": b"0",
    "true": b"true",
    "null": b"null",
    "message null": b'{"choices":[{"index":0,"message":null,"finish_reason":"stop"}]}',
    "text": b"upstream timed out",
    "XML": b"<?xml version='1.0'?><Error><Code>Busy</Code></Error>",
    "empty": b"",
    "error object": b'{"error":{"message":"busy","code":503}}',
    "event stream": b'data: {"error":{"message":"busy"}}\n\ndata: [DONE]\n\n',
    "error choice": b'{"choices":[{"message":{"content":""},"finish_reason":"error"}]}',
}


def test_a_reply_without_an_answer_is_a_failed_item_and_exits_with_1(
    in_process: Any, rows: Path, scripted_endpoint: Callable[..., Any], lines_of: Lines
) -> None:
    kinds = list(NON_ANSWERS)

    def answer(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        row = int(prompt.removeprefix("Text "))
        if row % 3 == 0 and row // 3 < len(kinds):
            return 200, NON_ANSWERS[kinds[row // 3]], {}
        return 200, chat(prompt), {}

    quick = {"HEADRACE_RETRY_BASE": "0.01"}
    with scripted_endpoint(answer) as endpoint:
        ask = (*ASK, "--max-in-flight", str(IN_FLIGHT), "--limit", "60")
        result = in_process.run(*ask, OPENAI_BASE_URL=endpoint.url, **quick)
    assert result.code == 1
    lines = {int(line["custom_id"].removeprefix("R")): line for line in lines_of("out.jsonl")}
    found = {kind: (lines[3 * place]["error"] or {}).get("code") for place, kind in enumerate(kinds)}
    assert found == dict.fromkeys(kinds, "invalid_reply")
    assert Counter(line["error"] is None for line in lines.values()) == {
        True: 60 - len(kinds),
        False: len(kinds),
    }


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_huge_token_count_does_not_stop_the_run(
    in_process: Any, rows: Path, scripted_endpoint: Callable[..., Any], lines_of: Lines, processes: str
) -> None:
    content = json.dumps(json.loads(chat("ok")) | {"usage": {"prompt_tokens": 10**25}}, indent=1).encode()
    with scripted_endpoint(lambda prompt, number: (200, content, {})) as endpoint:
        result = in_process.run(*ASK, "--limit", "50", "--processes", processes, OPENAI_BASE_URL=endpoint.url)
    assert result.code == 0, result.err
    assert len(lines_of("out.jsonl")) == 50
