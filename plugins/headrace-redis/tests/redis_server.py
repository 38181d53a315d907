"""A real redis-server (or valkey-server) for tests, on a free port, without persistence."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_redis import Account


class RedisProcess:
    """A server that can be killed and restarted at the same address."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                assert time.monotonic() < until, "redis-server does not start"
            time.sleep(0.01)

    def kill(self) -> None:
        """Send SIGKILL: its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Send SIGSTOP: it does not answer, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str) -> bytes:
        """Return the beginning of the response to a command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall((" ".join(command) + "\r\n").encode())
            return connection.recv(65536)

    def account(self, **settings: Any) -> Account:
        """Return an account over this server, with a long timeout because test machines are slow."""
        values: dict[str, Any] = {"url": self.url, "timeout": 5.0} | settings
        return Account(**values)


def start_server(program: str, folder: Path) -> RedisProcess:
    """Return a running server; skip the test if it is not installed, except in CI."""
    found = shutil.which(program)
    if found is None:
        assert program != "redis-server" or not os.environ.get("CI"), "redis-server is not installed"
        pytest.skip(f"{program} is not installed")
    server = RedisProcess(found, folder)
    server.start()
    return server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Provide a redis-server for one test."""
    server = start_server("redis-server", tmp_path)
    yield server
    server.kill()
