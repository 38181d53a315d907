"""The benchmarks run with the installed clients; without the others only headrace is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, limit: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a script of the benchmarks."""
    script, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *rest],
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


@pytest.mark.parametrize("question", ["throughput", "streaming", "concurrency_styles"])
def test_question_runs_quickly(question: str, tmp_path: Path) -> None:
    done = run("all.py", "--quick", "--only", question, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((tmp_path / f"{question}.json").read_text())
    ours = [row for row in result["rows"] if row["name"].startswith("headrace")]
    assert ours
    assert all(row["per_s"] > 0 for row in ours)
    assert result["quick"]
    assert not [failure for failure in result["failures"] if failure[1].startswith("headrace")]


def test_unknown_question_or_client_is_named() -> None:
    assert "unknown questions: speed" in run("all.py", "--only", "speed").stderr
    assert "unknown clients: curl" in run("throughput.py", "--only", "curl").stderr
