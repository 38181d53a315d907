"""Each test that the page on faults names is there, and each of its rows names one."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.docs.test_reference import rows

ROOT = Path(__file__).parents[2]


def written_tests() -> dict[str, set[str]]:
    """The names of test functions by that of their file."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in (ROOT / "tests", *ROOT.glob("plugins/*/tests")):
        for path in folder.rglob("test_*.py"):
            nodes = ast.parse(path.read_bytes()).body
            functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
            found[path.name] |= {each.name for each in functions if each.name.startswith("test_")}
    return found


def test_every_fault_names_existing_tests() -> None:
    written = written_tests()
    table = rows((ROOT / "docs" / "explanation" / "faults.md").read_text(encoding="utf-8"))
    assert len(table) > 50
    for fault, _, tests in table:
        named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
        assert named, f"{fault}: no test"
        assert tests == " ".join(f"`{file}::{name}`" for file, name in named), fault
        for file, name in named:
            assert name in written.get(file, ()), f"{fault}: there is no {file}::{name}"
