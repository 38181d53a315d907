"""Fixtures that run the command line as a process, with a real endpoint and files."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser
from tests.cli.browsing import chromium

from headrace.cli import commands

COMMAND = [sys.executable, "-c", "from headrace_command import main; main()"]
LIMIT = 60
KEY = "sk-canary-7f3a"


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Restore the level of the log, which ``--quiet`` changes for the whole process."""
    logger = logging.getLogger("headrace")
    before = logger.level
    yield
    logger.setLevel(before)


@attrs.frozen
class CommandLine:
    """Runs headrace in a folder, without the caller's settings in the environment."""

    folder: Path
    environment: dict[str, str]
    command: tuple[str, ...] = tuple(COMMAND)

    def start(self, *arguments: str, **keywords: Any) -> subprocess.Popen[str]:
        """A process whose output can be read."""
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment | keywords.pop("env", {}),
            text=True,
            stdin=keywords.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **keywords,
        )

    def run(self, *arguments: str, input: str | None = None, **environment: str) -> Result:
        """Run to the end."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.start(*arguments, env=environment, stdin=stdin) as process:
            out, err = process.communicate(input, timeout=LIMIT)
        return Result(process.returncode, out, err)


@attrs.frozen
class CommandInProcess:
    """Runs headrace in the process of the tests, which takes a tenth of the time.

    It is for mistakes, and for commands that start no process and handle no signal.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, input: str | None = None, **environment: str) -> Result:
        """Run to the end."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            runner = CliRunner(env=self.environment | environment)
            done = runner.invoke(commands(), arguments, input, prog_name="headrace", catch_exceptions=False)
        return Result(done.exit_code, done.stdout, done.stderr)


@attrs.frozen
class Result:
    """Exit code and output of a process."""

    code: int
    out: str
    err: str


def _environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "OPENAI_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"OPENAI_API_KEY": KEY} | more


@contextmanager
def _serving(*options: str) -> Iterator[str]:
    process = subprocess.Popen(
        [*COMMAND, "serve", *(() if "--port" in options else ("--port", "0")), *options],
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Simulated endpoint at ").strip()
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Starts `headrace serve` with options, as a context manager over its URL."""
    return _serving


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of a fast endpoint without faults."""
    with _serving() as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def headrace(tmp_path: Path, endpoint: str) -> CommandLine:
    """The command line, configured for the fast endpoint."""
    return CommandLine(tmp_path, _environment(OPENAI_BASE_URL=endpoint))


@pytest.fixture
def in_process(tmp_path: Path, endpoint: str) -> CommandInProcess:
    """The command line in this process, configured for the fast endpoint."""
    return CommandInProcess(tmp_path, {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint})


@pytest.fixture
def counts() -> Callable[[str], dict[str, Any]]:
    """Reads the counts that an endpoint reports."""

    def read(url: str) -> dict[str, Any]:
        counted: dict[str, Any] = httpx.get(
            f"{url.removesuffix('/v1')}/headrace/counts", trust_env=False
        ).json()
        return counted

    return read


@pytest.fixture
def lines_of(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Reads an output file."""

    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]

    return read


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """300 rows whose prompt begins with their id; the simulated answer repeats it."""
    path = tmp_path / "questions.csv"
    path.write_text("id,text\n" + "".join(f"Q{n:03},Frage {n}\n" for n in range(300)), encoding="utf-8")
    return path


@attrs.define
class ScriptedEndpoint:
    """An endpoint whose answers (status, body, headers) a function returns; counts requests."""

    answer: Callable[[str, int], tuple[int, bytes, dict[str, str]]]
    requests: int = 0
    url: str = ""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """Connections that wait to be accepted; with the default of 5, some are only retried after seconds."""


@contextmanager
def _scripted(answer: Callable[[str, int], tuple[int, bytes, dict[str, str]]]) -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.requests += 1
            prompt = body["messages"][-1]["content"]
            status, content, headers = endpoint.answer(prompt, endpoint.requests)
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def scripted_endpoint() -> Callable[..., Any]:
    """Starts a scripted endpoint, as a context manager over a `ScriptedEndpoint`."""
    return _scripted
