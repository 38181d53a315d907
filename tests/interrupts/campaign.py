"""Sends SIGINT at random moments to programs under load, one after the other."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import attrs
from tests.crash.campaign import COMMAND
from tests.crash.serving import Served, environment
from tests.interrupts import programs

STOPPING = "Stopping: calls in flight are being finished. Ctrl-C again drops them.\n"
INTERRUPTED = "headrace: interrupted\n"
"""Printed if the second signal comes when the run has ended and the process has not."""

LOST = re.compile(r"Exception ignored in: <function Weak[^\n]*\n.*?\nKeyboardInterrupt: \n+", re.DOTALL)
"""What Python prints of a KeyboardInterrupt in a weakref callback. The interrupt has no effect then."""

RUN = "run in.jsonl --prompt {text} --model m --out out.jsonl --max-in-flight 50".split()
FAULTS = ("--latency=5ms", "--jitter=10ms", "--errors=5%", "--faults=500,reset,stall", "--stall=50ms")
LATEST = 0.3
"""Latest time of the signal, in seconds under load."""

LIMIT = 20.0
"""Seconds after which a program counts as hanging."""

IN_TIME = (0, 130, -signal.SIGINT)
"""How a program may end: it has stopped cleanly, or with KeyboardInterrupt.

Python itself ends by the signal if one comes in its last moments; in a shell that is 130, too.
"""

Way: TypeAlias = tuple[str, str]
"""What is interrupted, and on which event loop."""

WAYS: Sequence[Way] = [
    *((kind, loop) for kind in ("client", "bulk", "drop-in") for loop in ("trio", "asyncio", "uvloop")),
    ("blocking", "asyncio"),
    ("command", "uvloop"),
]


class BrokenError(Exception):
    """A program did not end as it must."""


@attrs.define
class Figures:
    """The results of a campaign: how the programs ended."""

    ends: Counter[tuple[Way, str]] = attrs.field(factory=Counter)

    def __str__(self) -> str:
        return "\n".join(
            f"{kind:8} {loop:8} {number:5} {end}" for ((kind, loop), end), number in sorted(self.ends.items())
        )


class Campaign:
    """Interrupts each of ``ways`` ``interrupts`` times.

    Raises `BrokenError` if a program hangs, ends in another way, prints more than allowed, or leaves an
    incomplete output.
    """

    def __init__(self, *, interrupts: int, seed: int, ways: Sequence[Way] = WAYS) -> None:
        self._interrupts = interrupts
        self._chance = random.Random(seed)
        self._ways = ways
        self.figures = Figures()

    def perform(self) -> Figures:
        """Interrupt all ways, one after the other."""
        with Served(*FAULTS) as endpoint:
            for _ in range(self._interrupts):
                for way in self._ways:
                    with tempfile.TemporaryDirectory(prefix="headrace-interrupts-") as folder:
                        self._interrupt(way, endpoint.url, Path(folder))
        return self.figures

    def _interrupt(self, way: Way, url: str, folder: Path) -> None:
        process = _start(way, url, folder)
        try:
            _wait_until(lambda: _is_under_load(way, folder) or process.ended, way, process)
            time.sleep(self._chance.uniform(0, LATEST))
            process.send(signal.SIGINT)
            if way[0] == "command" and self._chance.random() < 0.5:
                time.sleep(self._chance.uniform(0, LATEST / 3))
                process.send(signal.SIGINT)
            _wait_until(lambda: process.ended or _lost_interrupt(folder), way, process)
            process.send(signal.SIGINT)  # as a person does if the first one had no effect
            _wait_until(lambda: process.ended, way, process)
        finally:
            process.send(signal.SIGKILL)
        errors = (folder / "stderr").read_text()
        unexpected = LOST.sub("", errors)
        if way[0] == "command":
            unexpected = unexpected.replace(STOPPING, "").removesuffix(INTERRUPTED)
        if process.code not in IN_TIME or unexpected:
            raise BrokenError(f"{way} ends with {process.code}:\n{errors}")
        if way[0] in {"bulk", "command"}:
            check_output(folder / "out.jsonl")
        self.figures.ends[way, "KeyboardInterrupt" if process.code else "clean stop"] += 1


@attrs.define
class _Process:
    """A child of this process."""

    pid: int
    folder: Path
    code: int | None = None

    @property
    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def send(self, number: signal.Signals) -> None:
        if not self.ended:
            os.kill(self.pid, number)


def _start(way: Way, url: str, folder: Path) -> _Process:
    """Fork: importing the programs' modules takes longer than all the rest, so that is done once."""
    kind, loop = way
    pid = os.fork()
    if pid:
        return _Process(pid, folder)
    code = 1
    try:
        os.chdir(folder)
        for descriptor, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
        variables = environment(url, HEADRACE_RETRY_BASE="0.01")
        if kind == "command":
            rows = "".join(f'{{"id": "Q{number}", "text": "Hello"}}\n' for number in range(3_000))
            Path("in.jsonl").write_text(rows)
            os.execve(COMMAND[0], [*COMMAND, *RUN], variables)
        os.environ.update(variables)
        code = programs.perform(kind, loop, url, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _is_under_load(way: Way, folder: Path) -> bool:
    file = folder / ("out.jsonl" if way[0] == "command" else "stdout")
    return file.exists() and file.stat().st_size > 0


def _lost_interrupt(folder: Path) -> bool:
    return LOST.search((folder / "stderr").read_text()) is not None


def _wait_until(condition: Callable[[], bool], way: Way, process: _Process) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            process.send(signal.SIGUSR1)
            time.sleep(1)
            raise BrokenError(f"{way} hangs:\n{(process.folder / 'stderr').read_text()}")
        time.sleep(0.002)


def check_output(out: Path) -> None:
    """Each line is complete, and each item has at most one."""
    lines = out.read_text().splitlines(keepends=True)
    ids = [json.loads(line)["custom_id"] for line in lines]
    if not all(line.endswith("\n") for line in lines) or len(set(ids)) != len(ids):
        raise BrokenError(f"{out.name} is not whole: {len(lines)} lines, {len(set(ids))} items")
