"""Writes the files of a new plugin, from the templates in this package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from headrace.cli.scaffold.names import PluginNames
from headrace.errors import InputError
from headrace.policies import Stage

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "src/{module}/__init__.py": "init.py",
    "src/{module}/policy.py": "policy.py",
    "src/{module}/py.typed": None,
    "tests/test_{policy}.py": "test.py",
}
"""The path of each file and its template; None for an empty file."""

_STAGE_NOTES = {
    Stage.OBSERVE: "outermost: it sees each call once",
    Stage.ACCOUNT: "where costs are counted: it sees each call once, also calls that a cache answers",
    Stage.ANSWER: "where a call can be answered without sending it: it sees each call once",
    Stage.PERSIST: "where a call can be sent again: it sees each call once, and each ``send`` is an attempt",
    Stage.PROTECT: "inside the retries: it sees each attempt, and may reject it",
    Stage.PACE: "innermost: it sees each attempt last, and may delay it",
}


def write_distribution(names: PluginNames, stage: Stage, into: Path) -> list[Path]:
    """Write the distribution into a new folder in ``into``; returns the files.

    Raises `InputError` if the folder exists, or cannot be written.
    """
    folder = into / names.distribution
    values = {
        "name": names.name,
        "distribution": names.distribution,
        "policy": names.policy,
        "prefix": f"HEADRACE_{names.policy.upper()}",
        "module": names.module,
        "kind": names.kind,
        "stage": stage.name,
        "place": _STAGE_NOTES[stage],
    }
    templates = resources.files(__package__) / "templates"
    written = []
    try:
        folder.mkdir(parents=True)
        for where, template in _FILES.items():
            path = folder / where.format(module=names.module, policy=names.policy)
            text = "" if template is None else (templates / f"{template}.txt").read_text(encoding="utf-8")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(values), encoding="utf-8")
            written.append(path)
    except FileExistsError:
        raise InputError(
            f"{folder}: exists already, and nothing is overwritten; choose another name, or --into"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    return written
