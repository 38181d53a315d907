"""Plugins, also those of `headrace plugin new`, use only public names of headrace.

An import-linter contract cannot check this: it knows modules but not names, and only installed plugins.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
import headrace.bulk
import headrace.pages
import headrace.plugins
import headrace.testing
from headrace.cli.scaffold import write_distribution
from headrace.cli.scaffold.names import PluginNames
from headrace.policies import Stage

PUBLIC = {
    module.__name__: set(module.__all__)
    for module in (headrace, headrace.bulk, headrace.pages, headrace.plugins)
}
PUBLIC["headrace.testing"] = set(headrace.testing.__all__)
PLUGINS = Path(__file__).parents[2] / "plugins"
SOURCES = sorted(PLUGINS.glob("*/src/**/*.py"))


def is_public(module: str, name: str) -> bool:
    return module in PUBLIC and (name in PUBLIC[module] or f"{module}.{name}" in PUBLIC)


def private_uses(source: str) -> Iterator[str]:
    """The names of headrace that a module uses although they are not public, as ``line: name``."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}  # the module of each local name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "headrace":
                    modules[alias.asname or "headrace"] = alias.name if alias.asname else "headrace"
                    if alias.name not in PUBLIC:
                        yield f"{node.lineno}: {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "headrace":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in PUBLIC:
                    modules[alias.asname or alias.name] = whole
                if not is_public(node.module, alias.name):
                    yield f"{node.lineno}: {whole}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = _module(node.value, modules)
            if module is not None and not is_public(module, node.attr):
                yield f"{node.lineno}: {module}.{node.attr}"


def _module(node: ast.expr, modules: dict[str, str]) -> str | None:
    """The public module that an expression refers to."""
    if isinstance(node, ast.Name):
        return modules.get(node.id)
    if isinstance(node, ast.Attribute):
        outer = _module(node.value, modules)
        return f"{outer}.{node.attr}" if outer and f"{outer}.{node.attr}" in PUBLIC else None
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_plugin_uses_only_public_names(path: Path) -> None:
    assert list(private_uses(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("stage", Stage)
def test_new_plugin_uses_only_public_names(stage: Stage, tmp_path: Path) -> None:
    written = write_distribution(PluginNames("rate-guard"), stage, tmp_path)
    python = [path for path in written if path.suffix == ".py"]
    assert len(python) == 3
    for path in python:
        assert list(private_uses(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from headrace.errors import SettingsError", ["1: headrace.errors.SettingsError"]),
        ("from headrace import errors", ["1: headrace.errors"]),
        ("from headrace.bulk import run_lock", ["1: headrace.bulk.run_lock"]),
        ("from headrace.pipeline.bulk_engines import Job", ["1: headrace.pipeline.bulk_engines.Job"]),
        ("import headrace.calls", ["1: headrace.calls"]),
        ("import headrace.calls as model", ["1: headrace.calls"]),
        ("import headrace\nheadrace.calls.Call", ["2: headrace.calls"]),
        ("import headrace as h\nh.settings", ["2: headrace.settings"]),
        ("from headrace import testing\ntesting.fake", ["2: headrace.testing.fake"]),
        ("import headrace.testing\nheadrace.testing.fake", ["2: headrace.testing.fake"]),
        (
            "def f():\n    from headrace._support.clock import on_asyncio",
            ["2: headrace._support.clock.on_asyncio"],
        ),
        ("if TYPE_CHECKING:\n    from headrace.calls import Call", ["2: headrace.calls.Call"]),
        ("from headrace import Call, plugins\nplugins.nearest", []),
        ("import headrace\nheadrace.Call\nheadrace.Call.model", []),
        ("import headrace.bulk\nheadrace.bulk.run.anything", []),
        ("from headrace_pace.lane import Lane\nimport headraces", []),
    ],
)
def test_private_names_are_found(source: str, found: list[str]) -> None:
    assert list(private_uses(source)) == found


def test_every_plugin_is_checked() -> None:
    folders = {path.parent.name for path in PLUGINS.glob("*/pyproject.toml")}
    assert folders
    assert {path.relative_to(PLUGINS).parts[0] for path in SOURCES} == folders
