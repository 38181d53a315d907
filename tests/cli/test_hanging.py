"""After Ctrl-C, a run with a hanging policy ends and names the policy."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLUGIN = """
import anyio
import sys
import headrace.bulk
from headrace import Stage, hookimpl

sys.modules["headrace.bulk.hung_calls"]._STOP_TIMEOUT = 0.5  # so that the test need not wait for as long

class Audit:
    name, stage = "audit", Stage.PROTECT
    passing = 3

    def wrap(self, send):
        async def audit(call):
            Audit.passing -= 1
            if Audit.passing < 0:
                await anyio.sleep_forever()
            return await send(call)
        return audit

@hookimpl
def headrace_policies(settings):
    return [Audit()]
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_policy_that_hangs_is_named_and_its_calls_are_dropped(
    headrace: Any,
    questions: Path,
    serving: Callable[..., Any],
    lines_of: Callable[[str], list[dict[str, Any]]],
    processes: int,
) -> None:
    folder = questions.with_name("plugins")
    metadata = folder / "headrace_audit-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "headrace_audit.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-audit\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[headrace]\naudit = headrace_audit\n")
    ask = ("--prompt", "{id}: {text}", "--model", "m", "--out", "out.jsonl", "--max-in-flight", "8")
    with (
        serving() as url,
        headrace.start(
            *("run", "questions.csv", *ask, "--processes", str(processes)),
            env={"OPENAI_BASE_URL": url, "PYTHONPATH": str(folder)},
        ) as process,
    ):
        out, end = questions.with_name("out.jsonl"), time.monotonic() + 30
        while not out.exists() or out.read_bytes().count(b"\n") < 3 * processes:
            assert time.monotonic() < end, "the run makes no progress"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert errors.splitlines()[-1] == (
        "Dropping the calls in flight: 0.5 s after the stop, policy 'audit' still holds them. "
        "Their items are left unsent."
    )
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert "run the same command again to continue" in output
    assert len(lines_of("out.jsonl")) == 3 * processes
