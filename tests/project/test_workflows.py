"""The workflows name each distribution, each Python and each step."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("headrace-*"))


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_all_distributions_are_published() -> None:
    published = re.findall(r"^ +- (headrace[\w-]*)$", text(".github/workflows/publish.yml"), re.MULTILINE)

    assert published == ["headrace", *PLUGINS]


def test_each_python_of_the_classifiers_is_tested() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    classified = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    matrix = re.findall(r"python: \[(.*)\]", text(".github/workflows/tests.yml"))[0]
    tested = re.findall(r'"(3\.\d+)"', matrix)

    assert set(classified) <= set(tested)


def test_each_step_of_nox_is_run_by_a_workflow_and_by_ci_run() -> None:
    named = re.findall(r"@nox\.session(?:\(name=\"([\w-]+)\"\))?\ndef (\w+)", text("noxfile.py"))
    sessions = {name or function for name, function in named}
    workflows = "".join(text(f".github/workflows/{name}.yml") for name in ("tests", "docs", "publish"))
    by_run = set(re.findall(r"for session in (.*); do", text(".ci/run"))[0].split())

    assert {each for each in sessions if not re.search(rf"\b{each}\b", workflows)} == set()
    assert sessions - by_run == {"coverage", "properties", "windows"}
