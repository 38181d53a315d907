"""The metadata of each distribution."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT, *sorted((ROOT / "plugins").glob("headrace-*"))]


def about(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: about(project)["name"])
def test_all_distributions_have_the_same_links_classifiers_version_and_licence(project: Path) -> None:
    core, this = about(ROOT), about(project)

    assert {"Homepage", "Documentation", "Changelog", "Issues"} == this["urls"].keys()
    assert "Typing :: Typed" in this["classifiers"]
    for key in ("urls", "classifiers", "version", "requires-python", "license", "license-files"):
        assert this[key] == core[key], key
    assert (project / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_classifiers_name_posix_systems_only() -> None:
    systems = {each for each in about(ROOT)["classifiers"] if each.startswith("Operating System")}

    assert systems == {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"}
