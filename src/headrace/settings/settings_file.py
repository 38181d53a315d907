"""Finds and reads the settings file: `headrace.toml`, or `[tool.headrace]` of a `pyproject.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import SettingsError


def read_settings_file(directory: Path | None) -> tuple[str, Mapping[str, Any]]:
    """The file's name for messages, and its settings; both empty without a file.

    ``directory`` is where the search starts, by default the current folder.
    """
    directory = Path.cwd() if directory is None else directory
    for folder in (directory, *directory.parents):
        own, project = folder / "headrace.toml", folder / "pyproject.toml"
        if own.is_file():
            return str(own), _parse(own)
        if project.is_file():
            table = _parse(project).get("tool", {}).get("headrace")
            if table is not None:
                return f"{project} [tool.headrace]", table
    return "", {}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error
