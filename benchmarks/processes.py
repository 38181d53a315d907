"""Runs one measurement as a Python process of its own, which shares nothing with the one before it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


class FailedRunError(Exception):
    """A measurement ended with an error, or not in time; the message is the last that it said."""


def measured(*arguments: str | int, limit: float = 600.0, certificates: Path | None = None) -> dict[str, Any]:
    """The JSON that `python ARGUMENTS` prints last; it is stopped after ``limit`` seconds and on Ctrl-C.

    Servers are verified with ``certificates``, where that is given.
    """
    known = {"SSL_CERT_FILE": str(certificates)} if certificates else {}
    command = [sys.executable, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment() | known,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedRunError(f"not done after {limit:g} s") from None
    if done.returncode:
        # The last line that says something: the frame that is drawn around a group of errors does not.
        said = [text for line in done.stderr.splitlines() if (text := line.strip(" |+-"))]
        raise FailedRunError(said[-1] if said else f"status {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def environment() -> dict[str, str]:
    """This process's environment less what would change what is measured: proxies, keys, settings, and a word
    against keeping compiled modules, with which each import would be as slow as the first one ever."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "OPENAI_", "PYTHONDONTWRITEBYTECODE"))
        and not name.lower().endswith("_proxy")
    }
