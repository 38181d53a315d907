"""If an endpoint repeats the key in its answers, no file of a run contains it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from headrace import ConnectError, Policy
from headrace.bulk import run
from headrace.testing import Answer, FakeEndpoint
from headrace_cache import Cache
from headrace_logging import Logging

SECRET = "QwErTzUi-OpAsDfGh_YxCvBnM"
KEY = f"sk-proj-{SECRET}"
ESCAPED = "".join(f"\\u{ord(each):04x}" for each in KEY)


def raw(text: str) -> bytes:
    """A chat completion with this text, not escaped further."""
    choice = f'{{"index": 0, "message": {{"content": "{text}"}}, "finish_reason": "stop"}}'
    return f'{{"model": "{KEY}", "choices": [{choice}]}}'.encode()


ANSWERS: list[Any] = [
    Answer(body=raw(f"the key is {KEY}"), headers={"x-request-id": KEY}),
    Answer(body=raw(f"the key is {ESCAPED}")),
    Answer(body=raw(f"half of it is {SECRET[:9]}")),
    Answer(
        body=b'{"choices": [{"message": {"content": "a"}}], "echo": "%s"}'
        % KEY.replace("-", r"\u002D").encode()
    ),
    Answer(body=f"<p>{KEY}".encode()),
    Answer(status=500, body={"error": {"message": f"{'x' * 990} {KEY}"}}, headers={"x-request-id": KEY}),
    Answer(status=400, body=f"Authorization: Bearer {KEY}".encode()),
    ConnectError("refused"),
]


def shown(content: bytes) -> bool:
    """Whether it contains 8 consecutive characters of the key, with or without JSON's escapes."""
    text = re.sub(r"\\u00(..)", lambda match: chr(int(match[1], 16)), content.decode()).replace("\\", "")
    return any(SECRET[at : at + 8] in text for at in range(len(SECRET) - 7))


@pytest.mark.anyio
@pytest.mark.parametrize("keywords", [{}, {"choices": ["a", "b"]}, {"answer": list[str]}], ids=str)
async def test_a_key_echoed_by_the_endpoint_is_in_no_file_and_no_log(
    products: Path, keywords: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headrace")
    endpoint = FakeEndpoint(*ANSWERS, otherwise=Answer(body=raw(f'[\\"{KEY}\\"]')))
    policies: list[Policy] = [Cache(path=str(products.with_name("cache"))), Logging(bodies=True)]
    out = products.with_name("out.jsonl")
    async with endpoint.client(policies, api_key=KEY, max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out, **keywords)
    assert summary.total == summary.succeeded + summary.failed == 10
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert b"***" in out.read_bytes()
    assert lines[0]["response"]["request_id"] == "***"
    assert lines[0]["response"]["body"]["choices"][0]["message"]["content"] == "the key is ***"
    if "answer" in keywords:
        assert lines[-1]["headrace"]["answer"] == ["***"]
    assert not shown(out.read_bytes())
    assert not any(SECRET.encode()[:8] in path.read_bytes() for path in out.parent.iterdir())
    assert "***" in caplog.text
    assert not shown(caplog.text.encode())
