"""The files of a new plugin, from the templates beside this module."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from headrace.cli.scaffold.names import Names
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
"""Where each file goes, and the template that it is made of; None for an empty one."""

_PLACES = {
    Stage.OBSERVE: "outside all others: it sees each call once",
    Stage.ACCOUNT: "where costs are counted: it sees each call once, and those that a cache answers",
    Stage.ANSWER: "where a call may be answered without being sent: it sees each call once",
    Stage.PERSIST: "where a call may be sent again: what it sends is each a try",
    Stage.PROTECT: "inside the retries: it sees each try, and may refuse it",
    Stage.PACE: "innermost: it sees each try last, and may hold it back",
}


def write_distribution(names: Names, stage: Stage, into: Path) -> list[Path]:
    """Write the distribution into a new folder in ``into``; the files that were written.

    Raises `InputError` where the folder is there already, or cannot be written.
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
        "place": _PLACES[stage],
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
            f"{folder} is there already, and nothing is overwritten; name another plugin or folder"
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    return written
