"""The notebooks of the documentation as they are in the repository; the session `notebooks` executes them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(DOCS)))
def test_a_notebook_has_no_outputs(path: Path) -> None:
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert sum(len(cell["metadata"].get("shows", ())) for cell in code) >= len(code) / 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_of_a_notebook_have_targets(path: Path) -> None:
    texts = ["".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == "markdown"]
    assert texts[0].startswith("# ")
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts)):
        page, _, anchor = target.partition("#")
        headings = re.findall(r"^#+ (.*)$", (path.parent / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}
