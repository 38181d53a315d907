"""The benchmarks run. Here they measure few clients; `nox -s benchmarks` runs them with all."""

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


def quick(question: str, folder: Path, clients: str | None) -> subprocess.CompletedProcess[str]:
    """Run a question, with these clients or all installed ones."""
    if clients is None:
        return run("all.py", "--quick", "--only", question, "--results", folder)
    few = ("--quick", "--repeats", "1", "--only", clients)
    return run(f"{question}.py", *few, "--json", folder / f"{question}.json")


@pytest.mark.parametrize(
    ("question", "clients"),
    [
        ("throughput", "headrace,headrace-journal,aiohttp"),
        ("streaming", "headrace-stream,aiohttp-stream"),
        ("concurrency_styles", None),
    ],
)
def test_question_runs_quickly(question: str, clients: str | None, tmp_path: Path) -> None:
    done = quick(question, tmp_path, clients)
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
