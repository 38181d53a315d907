"""The files that a folder or a pattern names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.bulk import input_files
from headrace.errors import InputError


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files in folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("rows/b.csv", "rows/far/a.csv", "rows/.hidden/c.csv", "rows/_temporary.csv", "rows/[1].csv"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path / "rows"


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("rows", ["[1].csv", "b.csv", "far/a.csv"]),
        ("rows/*.csv", ["[1].csv", "b.csv"]),
        ("rows/**/*.csv", ["[1].csv", "b.csv", "far/a.csv"]),
        ("rows/far", ["a.csv"]),
    ],
)
def test_folders_and_patterns_name_files(rows: Path, name: str, prefixes: list[str]) -> None:
    base = rows / "far" if name == "rows/far" else rows
    assert input_files(name) == [(base / prefix, prefix) for prefix in prefixes]
    assert input_files(rows.parent / name) == input_files(name)


def test_one_file_has_no_prefix(rows: Path) -> None:
    assert input_files(os.path.join("rows", "[1].csv")) == [(rows / "[1].csv", "")]


def test_a_name_without_files_is_a_mistake(rows: Path) -> None:
    with pytest.raises(InputError, match="no such file, and no files match"):
        input_files(rows / "*.parquet")
