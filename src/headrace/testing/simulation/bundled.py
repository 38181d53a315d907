"""The scenarios that come with headrace."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.testing.simulation.scenario import Scenario
from headrace.testing.simulation.scenario_files import parse_scenario, read_content

_ENDING = ".toml"


def bundled_names() -> list[str]:
    """The names of the scenarios that come with headrace."""
    files = resources.files(__package__).joinpath("scenarios").iterdir()
    return sorted(file.name.removesuffix(_ENDING) for file in files if file.name.endswith(_ENDING))


def scenario_text(name: str) -> str:
    """The content of a bundled scenario or of a file; raises `SettingsError`."""
    known = bundled_names()
    if name in known:
        file = resources.files(__package__).joinpath("scenarios", name + _ENDING)
        return file.read_text(encoding="utf-8")
    if not name.endswith(_ENDING) and not Path(name).exists():
        raise SettingsError(f"{name!r} is not a file and not a bundled scenario; {nearest(name, known)}")
    return read_content(name)


def find_scenario(name: str) -> Scenario:
    """The bundled scenario or the file with this name.

    Raises `SettingsError` as `read_scenario` does.
    """
    return parse_scenario(scenario_text(name), name)
