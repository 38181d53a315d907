"""The limit of open files is raised as far as the system allows, and what is missing is a warning."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from headrace.bulk import file_limit

INFINITY = -1


class Limits(SimpleNamespace):
    """A system with limits of open files; it refuses those above ``most``."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, INFINITY

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.most:
            raise ValueError("not allowed to raise maximum limit")
        self.soft = limits[0]


@pytest.mark.parametrize(
    ("soft", "hard", "most", "connections", "expected", "warns"),
    [
        (1024, 4096, 4096, 100, 1024, False),
        (1024, 4096, 4096, 2000, 2064, False),
        (1024, 4096, 4096, 5000, 4096, True),
        (1024, INFINITY, 10_240, 5000, 5064, False),
        (1024, INFINITY, 10_240, 1_000_000, 1024, True),
        (INFINITY, INFINITY, 10_240, 1_000_000, INFINITY, False),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    most: int,
    connections: int,
    expected: int,
    warns: bool,
) -> None:
    limits = Limits(soft=soft, hard=hard, most=most)
    monkeypatch.setattr(file_limit, "resource", limits)
    with caplog.at_level(logging.WARNING, "headrace"):
        file_limit.raise_file_limit(connections)
    assert limits.soft == expected
    assert ("ulimit -n" in caplog.text) == warns


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_command_says_that_more_calls_are_wanted_than_files() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)); "
        "from headrace.cli.run import client_for; from headrace.bulk import raise_file_limit; "
        "client_for(False, False, api_key='k'); raise_file_limit(1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "headrace: 1,000 calls at once are more than this process can have connections: it may open 300 "
        "files. Over HTTP/1.1 the others wait; raise the limit with 'ulimit -n'\n"
    )
