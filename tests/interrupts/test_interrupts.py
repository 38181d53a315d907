"""A few of the interrupts of `python -m tests.interrupts`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interrupts.campaign import WAYS, BrokenError, check_output

from headrace.transports.http1.response_parser import ResponseParser

ROOT = Path(__file__).parents[2]
INTERRUPTS = int(os.environ.get("TEST_INTERRUPTS", "1"))


def test_ctrl_c_at_any_moment_stops_the_program() -> None:
    # In a separate process, because it forks.
    command = [
        sys.executable,
        "-m",
        "tests.interrupts",
        "--interrupts",
        str(INTERRUPTS),
        "--seed",
        "20261128",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) >= len(WAYS)


@pytest.mark.parametrize("lines", ['{"custom_id":"a"}\n{"custom_id":"a"}\n', '{"custom_id":"a"}'])
def test_an_incomplete_output_is_detected(tmp_path: Path, lines: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(lines)
    with pytest.raises(BrokenError):
        check_output(out)


@pytest.mark.parametrize("callback", ["on_header", "on_headers_complete", "on_body", "on_message_complete"])
@pytest.mark.parametrize("refused", ["", "X-Odd: a\x01b\r\n"], ids=["at once", "at the second reading"])
def test_ctrl_c_in_a_parser_callback_is_not_reported_as_a_broken_response(
    monkeypatch: pytest.MonkeyPatch, callback: str, refused: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ResponseParser, callback, interrupted)
    parser = ResponseParser(1000)
    parser.begin("POST")
    with pytest.raises(KeyboardInterrupt):
        parser.feed(f"HTTP/1.1 200 OK\r\n{refused}Content-Length: 2\r\n\r\nhi".encode())
