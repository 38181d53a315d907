"""Runs of `headrace run` that are killed at random moments and resumed with the same command, until done."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from tests.crash.checks import (
    LostError,
    check_acknowledged,
    check_complete,
    check_steps_acknowledged,
    whole_lines,
)
from tests.crash.inputs import FORMS, Form, write_input
from tests.crash.serving import Served, environment

COMMAND = (sys.executable, "-c", "from headrace_command import main; main()")
FAULTS = ("--latency=30ms", "--jitter=20ms", "--errors=12%", "--stall=300ms")
KINDS = "--faults=500,503,429,reset,stall"
IN_FLIGHT = 20
TOGETHER = 15
"""Answers that a crash may lose in addition to those in flight: they are written sixteen at a time."""

LATEST = {1: 1.4, 2: 2.0}
"""Latest time of a kill in seconds after the start of a run, by processes; starting takes half of it."""

LATE = 0.5
"""How many runs are killed only after they got an answer."""

TEARS = 0.2
LIMIT = 120.0


@attrs.define
class Figures:
    """The results of a campaign: ``kills`` by what was killed, ``torn`` lines, and others."""

    kills: Counter[str] = attrs.field(factory=Counter)
    torn: int = 0
    runs: int = 0
    items: int = 0
    repeated: int = 0
    allowed: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} of {what}" for what, number in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kinds}) in {self.runs} runs of {self.items:,} items, "
            f"{self.torn} ends torn by hand: nothing lost, nothing doubled, no wrong answer; "
            f"{self.repeated} answers requested twice, {self.allowed:,} allowed; {self.seconds:.0f} s"
        )


class Campaign:
    """Kills runs until ``kills`` or ``limit`` seconds are reached; then the last run is finished.

    Raises `LostError` at the first failed check, and leaves the files of that run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kills: int,
        seed: int,
        items: int = 1_000,
        forms: Sequence[Form] = FORMS,
        limit: float = 1_800.0,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._most = kills
        self._items = items
        self._forms = forms
        self._chance = random.Random(seed)
        self._end = time.monotonic() + limit
        self._tell = tell
        self.figures = Figures()

    def perform(self) -> Figures:
        """Kill until the limit is reached, and check everything."""
        began = time.monotonic()
        with Served(*FAULTS, KINDS) as endpoint:
            while self._more():
                form = self._forms[self.figures.runs % len(self._forms)]
                folder = self._folder / f"run-{self.figures.runs:03}"
                folder.mkdir()
                self._run(form, folder, endpoint)
                self._tell(f"{form}: {self.figures.kills.total()} kills so far")
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _more(self) -> bool:
        return self.figures.kills.total() < self._most and time.monotonic() < self._end

    def _run(self, form: Form, folder: Path, endpoint: Served) -> None:
        """One run, from its first start to its last."""
        figures, out, steps = self.figures, folder / "out.jsonl", folder / "out.jsonl.steps"
        arguments, prompts = write_input(folder, form, self._items, self._chance)
        command = [*COMMAND, "run", *arguments, "--out", out.name, "--table", "table.csv"]
        command += ["--max-in-flight", str(IN_FLIGHT)]
        before, kills, answered, again = b"", figures.kills.total(), endpoint.answered(), False
        torn, before_steps = 0, b""
        while True:
            ended = self._session(folder, [*command, *(["--retry-failed"] if again else [])], form, endpoint)
            now = whole_lines(out)
            check_acknowledged(before, now, retried=again)
            now_steps = whole_lines(steps)
            check_steps_acknowledged(before_steps, now_steps)
            if ended == 0:
                break
            if ended is None and self._chance.random() < TEARS and now:
                now, torn = self._tear(out, now), torn + 1
            if ended is None and self._chance.random() < TEARS and now_steps:
                now_steps, torn = self._tear(steps, now_steps), torn + 1
            before_steps = now_steps
            before, again = now, ended == 1 or self._chance.random() < 0.2
        check_complete(out, prompts, form)
        needed = now_steps.count(b"\n") if form.steps else len(prompts)
        kills, repeated = figures.kills.total() - kills, endpoint.answered() - answered - needed
        allowed = kills * (IN_FLIGHT + TOGETHER) + torn
        if repeated > allowed:
            raise LostError(f"{repeated} answers requested twice in {kills} kills, {allowed} are allowed")
        self._check_afterwards(folder, list(prompts))
        figures.runs += 1
        figures.items += len(prompts)
        figures.repeated += repeated
        figures.allowed += allowed
        figures.torn += torn

    def _session(self, folder: Path, command: list[str], form: Form, endpoint: Served) -> int | None:
        """Run the command, and kill it or a worker at random; return its exit code, None if it was killed."""
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment(endpoint.url, HEADRACE_RETRY_BASE="0.05"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                if self._chance.random() < LATE and self._more():
                    self._wait_for_answers(process, endpoint)
                while self._more():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(self._chance.uniform(0.0, LATEST[form.processes]))
                        break
                    if self._kill(process):
                        return None
                process.wait(LIMIT)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                _, errors = process.communicate(timeout=30)
        if process.returncode not in {0, 1} or b"Traceback" in errors:
            raise LostError(f"exit code {process.returncode}: {errors.decode()}")
        return process.returncode

    def _wait_for_answers(self, process: subprocess.Popen[bytes], endpoint: Served) -> None:
        """Wait until a run gets answers: on a busy machine, it starts later than most kills come."""
        before, end = endpoint.answered(), time.monotonic() + LIMIT
        while process.poll() is None and endpoint.answered() == before and time.monotonic() < end:
            time.sleep(0.02)

    def _kill(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill all processes of a run, its main process, or a worker; return whether the run has ended."""
        workers = _children(process.pid)
        what = self._chance.choice(["all processes", "the run's process", *(["a worker"] if workers else [])])
        self.figures.kills[what] += 1
        if what == "a worker":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._chance.choice(workers), signal.SIGKILL)
            return False
        if what == "all processes":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(30)
        return True

    def _tear(self, out: Path, whole: bytes) -> bytes:
        """Truncate the last line at a random byte, as a power failure may; return the lines before it."""
        start = whole.rfind(b"\n", 0, -1) + 1
        with out.open("r+b") as file:
            file.truncate(self._chance.randrange(start, len(whole)))
        return whole[:start]

    def _check_afterwards(self, folder: Path, ids: list[str]) -> None:
        """Check that the table has all rows in the input's order, and that a report can be made."""
        with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        named = "custom_id" if "custom_id" in rows[0] else "id"
        if [row[named] for row in rows] != ids:
            raise LostError("the table does not have all items in the order of the input")
        made = subprocess.run(
            [*COMMAND, "report", "out.jsonl"], cwd=folder, capture_output=True, timeout=LIMIT, check=False
        )
        if made.returncode or not list(folder.glob("*.html")):
            raise LostError(f"no report: {made.stderr.decode()}")


def _children(parent: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))
    except OSError:
        return []
