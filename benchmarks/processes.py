"""Runs one measurement in its own Python process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


class MeasurementError(Exception):
    """A measurement failed or took too long; the message is its last line on standard error."""


def run_measurement(
    *arguments: str | int, limit: float = 600.0, certificates: Path | None = None
) -> dict[str, Any]:
    """Run `python ARGUMENTS` and return the JSON in its last line.

    It is stopped after ``limit`` seconds and on Ctrl-C. Servers are verified with ``certificates``, if given.
    """
    extra = {"SSL_CERT_FILE": str(certificates)} if certificates else {}
    command = [sys.executable, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=clean_environment() | extra,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"not done after {limit:g} s") from None
    if done.returncode:
        # The last line with text: tracebacks of exception groups end with a line of the frame around them.
        lines = [text for line in done.stderr.splitlines() if (text := line.strip(" |+-"))]
        raise MeasurementError(lines[-1] if lines else f"status {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def clean_environment() -> dict[str, str]:
    """The environment of this process without variables that change a measurement.

    These are proxies, keys, settings, and PYTHONDONTWRITEBYTECODE, which makes each import as slow as the
    first.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "OPENAI_", "PYTHONDONTWRITEBYTECODE"))
        and not name.lower().endswith("_proxy")
    }
