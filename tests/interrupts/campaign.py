"""Programs under load that get SIGINT at random moments, one after the other."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import attrs
from tests.crash.campaign import COMMAND
from tests.crash.serving import Served, environment

PROGRAMS = Path(__file__).with_name("programs.py")
FAULTS = ("--latency=5ms", "--jitter=10ms", "--errors=5%", "--faults=500,reset,stall", "--stall=50ms")
LATEST = 0.3
"""Seconds under load after which the signal comes at the latest."""

LIMIT = 20.0
"""Seconds after which a program hangs."""

IN_TIME = (0, 130)
"""How a program may end: it has stopped cleanly, or with KeyboardInterrupt."""

Way: TypeAlias = tuple[str, str]
"""What is interrupted, and on which event loop."""

WAYS: Sequence[Way] = [
    *((kind, loop) for kind in ("client", "bulk", "drop-in") for loop in ("trio", "asyncio", "uvloop")),
    ("command", "uvloop"),
]


class BrokenError(Exception):
    """A program did not end as it is to."""


@attrs.define
class Figures:
    """What came of a campaign: how the programs ended."""

    ends: Counter[tuple[Way, str]] = attrs.field(factory=Counter)

    def __str__(self) -> str:
        return "\n".join(
            f"{kind:8} {loop:8} {number:5} {end}" for ((kind, loop), end), number in sorted(self.ends.items())
        )


class Campaign:
    """Interrupts each of ``ways`` so many times.

    Raises `BrokenError` where one hangs, ends in another way, says more than it is to, or leaves an output
    that is not whole.
    """

    def __init__(self, *, interrupts: int, seed: int, ways: Sequence[Way] = WAYS) -> None:
        self._interrupts = interrupts
        self._chance = random.Random(seed)
        self._ways = ways
        self.figures = Figures()

    def perform(self) -> Figures:
        """Interrupt them all, by turns."""
        with Served(*FAULTS) as endpoint:
            for _ in range(self._interrupts):
                for way in self._ways:
                    with tempfile.TemporaryDirectory(prefix="headrace-interrupts-") as folder:
                        self._interrupt(way, endpoint.url, Path(folder))
        return self.figures

    def _interrupt(self, way: Way, url: str, folder: Path) -> None:
        command = self._command(way, url, folder)
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment(url, HEADRACE_RETRY_BASE="0.01"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                self._wait_for_load(way, process, folder)
                time.sleep(self._chance.uniform(0, LATEST))
                process.send_signal(signal.SIGINT)
                if way[0] == "command" and self._chance.random() < 0.5:
                    time.sleep(self._chance.uniform(0, LATEST / 3))
                    process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGUSR1)
                time.sleep(1)
                process.kill()
                raise BrokenError(f"{way} hangs:\n{process.communicate()[1]}") from None
            finally:
                process.kill()
        allowed = "Stopping: calls in flight are being finished. Ctrl-C again drops them.\n"
        unexpected = said.replace(allowed, "") if way[0] == "command" else said
        if process.returncode not in IN_TIME or unexpected:
            raise BrokenError(f"{way} ends with {process.returncode}:\n{said}")
        if way[0] in {"bulk", "command"}:
            check_output(folder / "out.jsonl")
        self.figures.ends[way, "KeyboardInterrupt" if process.returncode else "clean stop"] += 1

    def _command(self, way: Way, url: str, folder: Path) -> list[str]:
        kind, loop = way
        if kind != "command":
            return [sys.executable, str(PROGRAMS), kind, loop, url, str(folder)]
        lines = "".join(f'{{"id": "Q{number}", "text": "Hello"}}\n' for number in range(20_000))
        (folder / "in.jsonl").write_text(lines)
        asked = ["run", "in.jsonl", "--prompt", "{text}", "--model", "m", "--out", "out.jsonl"]
        return [*COMMAND, *asked, "--max-in-flight", "50"]

    def _wait_for_load(self, way: Way, process: subprocess.Popen[str], folder: Path) -> None:
        if way[0] != "command":
            assert process.stdout is not None
            process.stdout.readline()
            return
        out, end = folder / "out.jsonl", time.monotonic() + LIMIT
        while (not out.exists() or not out.stat().st_size) and process.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, LIMIT)
            time.sleep(0.005)


def check_output(out: Path) -> None:
    """Each line is whole, and each item has one at most."""
    lines = out.read_text().splitlines(keepends=True)
    ids = [json.loads(line)["custom_id"] for line in lines]
    if not all(line.endswith("\n") for line in lines) or len(set(ids)) != len(ids):
        raise BrokenError(f"{out.name} is not whole: {len(lines)} lines, {len(set(ids))} items")
