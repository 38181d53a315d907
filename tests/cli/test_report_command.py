"""`headrace report`: the command, and its page in a real browser."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser
from tests.cli.browsing import CONTRASTS, assert_legible, opened

MODELS = (
    "deepseek-v3.2",
    "gpt-4.1",
    "gpt-4.1-mini",
    "a-house/with-a-model-that-has-a-very-long-name-and-no-price",
)
ITEMS = 600


@pytest.fixture
def ran(headrace: Any, serving: Callable[..., Any]) -> str:
    """The summary of a run with failures and several models, whose output is out.jsonl."""
    lines = [
        {
            "custom_id": f"q{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODELS[n % 4], "messages": [{"role": "user", "content": f"canary-prompt {n}"}]},
        }
        for n in range(ITEMS)
    ]
    (headrace.folder / "in.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with serving("--latency", "30ms", "--jitter", "25ms", "--errors", "20%", "--seed", "5") as url:
        environment = {"OPENAI_BASE_URL": url, "HEADRACE_RETRY_ATTEMPTS": "2", "HEADRACE_RETRY_BASE": "0.01"}
        result = headrace.run("run", "in.jsonl", "--out", "out.jsonl", **environment)
    assert result.code == 1, result.err
    summary: str = result.out
    return summary


def test_the_page_agrees_with_the_summary(in_process: Any, ran: str, browser: Browser) -> None:
    result = in_process.run("report", "out.jsonl")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"Report of {ITEMS} items: out.html\n"
    window = opened(browser, in_process.folder / "out.html", 1400)
    shown = dict(
        zip(
            window.locator("dt").all_inner_texts(),
            window.locator("dd .value").all_inner_texts(),
            strict=True,
        )
    )
    assert all(figure.is_visible() for figure in window.locator("dd .value").all())
    counts = re.search(r"([\d,]+) succeeded, ([\d,]+) failed, ([\d,]+) retries", ran)
    tokens = re.search(r"tokens +([\d,]+) in, ([\d,]+) out", ran)
    cost = re.search(r"cost +(\$[\d.]+)", ran)
    latencies = re.search(r"p50 (.*), p95 (.*), p99 (.*)", ran)
    assert counts
    assert tokens
    assert cost
    assert latencies
    assert [shown[name] for name in ("Succeeded", "Failed", "Retries")] == list(counts.groups())
    assert [shown[name] for name in ("Tokens in", "Tokens out")] == list(tokens.groups())
    assert shown["Cost"] == cost[1]
    assert [shown[f"Latency p{percent}"] for percent in (50, 95, 99)] == list(latencies.groups())
    assert shown["Items"] == str(ITEMS)
    assert int(counts[2].replace(",", "")) > 0
    page = window.content()
    failures = re.findall(r"^ +(?:failures)? +(\d+) (\w+_\w+(?: \d+)?): ", ran, re.MULTILINE)
    assert failures
    for number, kind in failures:
        assert re.search(rf'{kind}<span class="example">[^<]+</span></th><td class="number">{number}<', page)
    for model in MODELS:
        assert window.get_by_role("rowheader", name=model, exact=True).is_visible()
    assert "sk-canary" not in page
    headings = window.get_by_role("heading", level=2).all_inner_texts()
    assert headings == [
        *("Run", "Answers", "Latency", "Throughput", "Failures", "Tokens and cost by model", "Attempts"),
        "Rows",
    ]
    assert window.get_by_role("img").count() == 2
    window.context.close()


def test_the_page_is_legible_at_any_width_in_light_and_dark(
    in_process: Any, ran: str, browser: Browser
) -> None:
    in_process.run("report", "out.jsonl", "--out", "page.html")
    for width, scheme in itertools.product((390, 820, 1440), ("light", "dark")):
        window = opened(browser, in_process.folder / "page.html", width, scheme, with_script=True)
        assert_legible(window)
        ground = window.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        assert min(window.evaluate(CONTRASTS)) >= 4.5
        window.context.close()


def test_the_page_names_the_prompt_and_the_command_without_keys(headrace: Any, questions: Any) -> None:
    ask = ("--prompt", "{text} sk-canary-7f3a", "--model", "m", "--param", "user=me:sk-other12345678")
    assert headrace.run("run", "questions.csv", *ask, "--out", "out.jsonl", "--limit", "3").code == 0
    sidecar = (headrace.folder / "out.jsonl.journal").read_text(encoding="utf-8")
    facts = json.loads(sidecar.splitlines()[0])
    assert facts["command"] == (
        "headrace run questions.csv --prompt '{text} ***' --model m --param user=me:*** "
        "--out out.jsonl --limit 3"
    )
    assert headrace.run("report", "out.jsonl").code == 0
    page = (headrace.folder / "out.html").read_text(encoding="utf-8")
    assert "canary" not in page
    assert "other12345678" not in page
    assert "--limit 3" in page


def line(number: int, at: float | None, elapsed: float, **more: Any) -> str:
    body = {"model": "m", "usage": {"prompt_tokens": 123_456_789, "completion_tokens": 1_234_567_890_123}}
    response = None if "error" in more else {"status_code": 200, "request_id": None, "body": body}
    notes = {"attempts": 1, "elapsed": elapsed} | ({} if at is None else {"completed_at": 1.7e9 + at})
    values = {"id": f"headrace-{number}", "custom_id": "x", "response": response, "error": None, **more}
    return json.dumps(values | {"headrace": notes}) + "\n"


OUTPUTS = {
    "one item": [line(0, 0, 0.2)],
    "failures alone": [
        line(n, n, 0.01, error={"code": "timeout", "message": "<b>W</b>" * 100}) for n in range(9)
    ],
    "without times": [line(n, None, 1 + n / 100) for n in range(99)],
    "resumed four times": [
        line(n, n // 500 * 90_000 + n / 20, 0.001 * 1.01 ** (n % 1000)) for n in range(2500)
    ],
    "resumed soon and late": [
        line(n, (n > 10) * 90_000 + (n > 150) * 90_000 + (n > 970) * 990_000 + n / 20, 0.01)
        for n in range(1000)
    ],
    "over a month": [line(n, n * 2600, 0.5 + n % 7 / 1000) for n in range(1000)],
    "at once": [line(n, n / 50_000, 0.002 + n % 50 / 10_000) for n in range(9000)],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_pages_of_unusual_runs_are_legible(in_process: Any, browser: Browser, name: str) -> None:
    (in_process.folder / "out.jsonl").write_text("".join(OUTPUTS[name]), encoding="utf-8")
    assert in_process.run("report", "out.jsonl").code == 0
    for width in (360, 1400):
        window = opened(browser, in_process.folder / "out.html", width)
        if name == "failures alone":
            assert "<b>W</b>" in window.locator(".example").inner_text()
        elif name == "without times":
            assert "Not known" in window.locator("section[aria-labelledby=throughput]").inner_text()
        if window.locator("svg").count():
            assert_legible(window)
        if name == "resumed four times":
            assert "without 4 pauses" in window.locator("dl").inner_text()
            assert window.locator("line.pause").count() == 4
        window.context.close()


def test_a_file_that_is_not_an_output_is_an_error_of_one_line(in_process: Any) -> None:
    (in_process.folder / "empty.jsonl").touch()
    (in_process.folder / "foreign.jsonl").write_text('{"text": "hello"}\n', encoding="utf-8")
    for name, message in (
        ("missing.jsonl", "missing.jsonl: No such file"),
        ("empty.jsonl", "empty.jsonl: holds no finished item"),
        ("foreign.jsonl", "foreign.jsonl: is not the output of a run: its first line is other JSON; name"),
    ):
        result = in_process.run("report", name)
        assert result.code == 2
        assert message in result.err
        assert len(result.err.splitlines()) == 1
    assert not list(in_process.folder.glob("*.html"))


def test_a_report_does_not_replace_the_output(in_process: Any) -> None:
    (in_process.folder / "out.html").write_text(line(0, 0, 0.2), encoding="utf-8")
    result = in_process.run("report", "out.html")
    assert result.code == 2
    assert "name another --out" in result.err


def test_a_running_run_has_a_report(in_process: Any, browser: Browser) -> None:
    (in_process.folder / "out.jsonl").write_text(line(0, 0, 0.2) + line(1, 1, 0.2)[:40], encoding="utf-8")
    assert in_process.run("report", "out.jsonl").out == "Report of 1 item: out.html\n"
    window = opened(browser, in_process.folder / "out.html", 360)
    assert window.get_by_text("The last line is incomplete").is_visible()
    window.context.close()
