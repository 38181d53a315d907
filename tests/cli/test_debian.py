"""Real input: the package descriptions of the Debian index."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONVERTER = Path(__file__).parents[2] / "benchmarks" / "debian_packages.py"
ROWS = 3000


@pytest.fixture
def packages(tmp_path: Path) -> list[dict[str, str]]:
    """The first packages of the index, written to packages.csv."""
    result = subprocess.run(
        [sys.executable, str(CONVERTER), str(tmp_path / "packages.csv"), str(ROWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        assert not os.environ.get("CI"), result.stderr
        pytest.skip(result.stderr)
    with (tmp_path / "packages.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_thousands_of_debian_packages_are_sorted_into_their_sections(
    headrace: Any, packages: list[dict[str, str]], lines_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    text = "".join(package["description"] for package in packages)
    assert len(packages) == ROWS
    assert "\n" in text
    assert '"' in text
    assert not text.isascii(), "real input contains umlauts and similar characters"
    sections = sorted({package["section"] for package in packages})
    result = headrace.run(
        *("run", "packages.csv", "--out", "out.jsonl", "--model", "gpt-4.1", "--choices", ",".join(sections)),
        *("--prompt", "Which section does this package belong to?\n{id}: {description}"),
    )
    assert result.code == 0, result.err
    lines = lines_of("out.jsonl")
    assert sorted(line["custom_id"] for line in lines) == sorted(package["id"] for package in packages)
    assert {line["headrace"]["answer"] for line in lines} <= set(sections)
    tokens = sum(line["response"]["body"]["usage"]["prompt_tokens"] for line in lines)
    assert f"tokens     {tokens:,} in" in result.out
