"""Output on a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COLUMNS = 80


def read_all(terminal: int) -> str:
    """Read from a terminal until its last writer has closed it."""
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's end of file for a terminal
            part = b""
        if not part:
            return written.decode()
        written += part


def read_until(terminal: int, text: str) -> str:
    """Read from a terminal up to this text."""
    written = b""
    while text.encode() not in written:
        written += os.read(terminal, 65536)
    return written.decode()


def test_a_terminal_shows_a_bar_with_the_state_of_the_run(
    headrace: Any, questions: Path, serving: Callable[..., Any]
) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    settings = {"TERM": "xterm", "HEADRACE_RETRY_ATTEMPTS": "8", "HEADRACE_RETRY_BASE": "0.01"}
    arguments = ("run", "questions.csv", "--prompt", "{text}", "--model", "gpt-4.1", "--out", "out.jsonl")
    with serving("--latency", "100ms", "--errors", "10%") as url:
        process = subprocess.Popen(
            [*headrace.command, *arguments, "--max-in-flight", "25"],
            cwd=headrace.folder,
            env=headrace.environment | settings | {"OPENAI_BASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=inner,
        )
        os.close(inner)
        shown = read_all(terminal)
        os.close(terminal)
        assert process.wait(timeout=30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"━+╸?━* +\d+% +\d+/300 [\d.]+ s left", plain), "a bar that moves"
    assert re.search(r"\d+/s · 0 failed · \d+ retries · [1-9]\d? in flight · \$0\.\d{4}", plain)
    assert "100%  300/300" in plain
    assert max(len(line) for line in plain.splitlines()) <= COLUMNS


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_waiting_bar_shows_the_reason_and_the_endpoint(
    headrace: Any, questions: Path, processes: str
) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]  # where nothing listens once it is closed
    arguments = ("run", "questions.csv", "--prompt", "{text}", "--model", "m", "--out", "out.jsonl")
    process = subprocess.Popen(
        [*headrace.command, *arguments, "--processes", processes],
        cwd=headrace.folder,
        env=headrace.environment | {"TERM": "xterm", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=inner,
    )
    os.close(inner)
    shown = read_until(terminal, "waiting: ") + read_until(terminal, "in flight")
    process.send_signal(signal.SIGINT)
    shown += read_all(terminal)
    os.close(terminal)
    assert process.wait(timeout=30) == 130
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert f"waiting: connection refused by 127.0.0.1:{port}; is the endpoint running" in plain
    assert "0/300 waiting" in plain
    assert max(len(line) for line in plain.splitlines()) <= COLUMNS


def test_control_characters_of_an_answer_do_not_reach_the_terminal(headrace: Any, in_process: Any) -> None:
    arguments = "Repeat \x1b]0;owned\x07\x1b[2J"
    piped = in_process.run("chat", arguments, "--model", "m", "--quiet")
    assert "\x1b" in piped.out, "the simulated answer repeats the question; a pipe gets it unchanged"
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [*headrace.command, "chat", arguments, "--model", "m", "--quiet"],
        cwd=headrace.folder,
        env=headrace.environment | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=inner,
        stderr=subprocess.DEVNULL,
    )
    os.close(inner)
    shown = read_all(terminal)
    os.close(terminal)
    assert process.wait(timeout=30) == 0
    assert "\x1b" not in shown
    assert "\\x1b" in shown
