"""The engine that `headrace.run` gets, by itself or by its name."""

from __future__ import annotations

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.pipeline.bulk_engines import ExecutorEngine
from headrace.settings.known_plugins import missing_plugin


def executor_engine(engine: str | ExecutorEngine) -> ExecutorEngine:
    """The engine, found by its name among those of the installed plugins.

    Raises:
        SettingsError: The engine is unknown, or only the command line has it.
    """
    if not isinstance(engine, str):
        return engine
    from headrace.pipeline.plugin_manager import Plugins

    found = {str(each.name): each for _, each in Plugins().engines()}
    if engine not in found:
        missing = missing_plugin(engine)
        how = (
            f"not installed; pip install {missing}"
            if missing
            else f"no such engine; {nearest(engine, found)}"
        )
        raise SettingsError(f"engine={engine!r}: {how}")
    chosen = found[engine]
    if not isinstance(chosen, ExecutorEngine):
        raise SettingsError(f"engine={engine!r}: is only for the command headrace run --engine {engine}")
    return chosen
