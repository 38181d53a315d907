"""Fixtures for the tests of bulk runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """Ten products as CSV."""
    path = tmp_path / "products.csv"
    rows = "".join(f'P{number},"Ding, {number}",Größe {number}\n' for number in range(10))
    path.write_text(f"id,name,description\n{rows}", encoding="utf-8")
    return path


@pytest.fixture
def read_lines() -> Callable[[Path], list[dict[str, Any]]]:
    """Reads an output file."""

    def read(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    return read
