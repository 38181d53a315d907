"""Real input: the package descriptions of the Debian index."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks import real_forms
from benchmarks.debian_packages import IndexUnavailableError

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
    in_process: Any, packages: list[dict[str, str]], lines_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    text = "".join(package["description"] for package in packages)
    assert len(packages) == ROWS
    assert "\n" in text
    assert '"' in text
    assert not text.isascii(), "real input contains umlauts and similar characters"
    sections = sorted({package["section"] for package in packages})
    result = in_process.run(
        *("run", "packages.csv", "--out", "out.jsonl", "--model", "gpt-4.1", "--choices", ",".join(sections)),
        *("--prompt", "Which section does this package belong to?\n{id}: {description}"),
    )
    assert result.code == 0, result.err
    lines = lines_of("out.jsonl")
    assert sorted(line["custom_id"] for line in lines) == sorted(package["id"] for package in packages)
    assert {line["headrace"]["answer"] for line in lines} <= set(sections)
    tokens = sum(line["response"]["body"]["usage"]["prompt_tokens"] for line in lines)
    assert f"tokens     {tokens:,} in" in result.out


def test_packages_get_the_same_answers_from_a_data_frame_from_files_and_over_https(endpoint: str) -> None:
    try:
        rows = real_forms.packages(200)
    except IndexUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    reports: list[tuple[str, int]] = []

    def report(form: str, succeeded: int, sections: int, seconds: float) -> None:
        assert sections > 5
        reports.append((form, succeeded))

    anyio.run(real_forms.compare, rows, endpoint, 20, report)
    forms = ("DataFrame", "Parquet", "JSON array", "https, Parquet", "https, JSON array")
    assert reports == [(form, 200) for form in forms]
