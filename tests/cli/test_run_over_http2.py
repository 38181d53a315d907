"""`headrace run` over HTTP/2, killed and started again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROWS = 300


@pytest.fixture
def variables(headrace: Any) -> Iterator[dict[str, str]]:
    """The environment variables for clients that `headrace serve --tls` prints."""
    options = ("--latency", "20ms", "--errors", "5%")
    with headrace.start("serve", "--tls", "--port", "0", *options) as process:
        try:
            output = [process.stdout.readline() for _ in range(3)]
            yield dict(word.split("=", 1) for word in output[2].split() if "=" in word)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_a_killed_run_can_be_continued(
    headrace: Any,
    in_process: Any,
    questions: Path,
    variables: dict[str, str],
    lines_of: Callable[[str], list[dict[str, Any]]],
) -> None:
    prompt = ("--prompt", "{id}: {text}", "--max-in-flight", "10")
    command = ("run", questions.name, "--out", "out.jsonl", "--model", "any", *prompt)
    output = headrace.folder / "out.jsonl"
    with headrace.start(*command, env=variables) as process:
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            if output.exists() and len(output.read_bytes().splitlines()) > 20:
                break
        process.kill()
        process.communicate(timeout=30)
    assert 20 < len(output.read_bytes().splitlines()) < ROWS

    result = in_process.run(*command, HEADRACE_HTTP2="true", **variables)
    assert result.code == 0, result.err
    lines = lines_of("out.jsonl")
    assert sorted(line["custom_id"] for line in lines) == [f"Q{number:03}" for number in range(ROWS)]
    for line in lines:
        text = line["response"]["body"]["choices"][0]["message"]["content"]
        assert line["custom_id"] in text
