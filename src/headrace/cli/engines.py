"""`headrace run --engine`: the engines that plugins bring, and the options that come with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headrace.errors import PluginError, SettingsError, nearest

if TYPE_CHECKING:
    from headrace.bulk.engines import Engine


class CommandWithEngines(click.Command):
    """A command that has the engines' options besides its own."""

    _engines: dict[str, Engine] | None = None

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines by name; raises `PluginError` for two of one name or option, and for what is none."""
        if self._engines is None:
            from headrace.pipeline import Plugins

            self._engines = _checked(Plugins(), {name for each in self.params for name in each.opts})
        return self._engines

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own, the engines', and --help."""
        *own, last = super().get_params(ctx)
        return [*own, *(option for engine in self.engines.values() for option in engine.options), last]

    def chosen(self, name: str | None, options: Mapping[str, Any]) -> tuple[Engine | None, dict[str, Any]]:
        """The engine of this name and its options' values; raises `SettingsError` for others' options."""
        if name is not None and name not in self.engines:
            raise SettingsError(f"--engine {name}: no plugin brings it; {nearest(name, self.engines)}")
        engine = None if name is None else self.engines[name]
        source_of = click.get_current_context().get_parameter_source
        given = {}
        for each in self.engines.values():
            for option in each.options:
                value = options.get(str(option.name))
                if each is engine:
                    given[str(option.name)] = value
                elif source_of(str(option.name)) is not ParameterSource.DEFAULT:
                    raise SettingsError(f"{option.opts[0]} is for --engine {each.name}")
        return engine, given


def _checked(plugins: Any, taken: set[str]) -> dict[str, Engine]:
    from headrace.bulk.engines import Engine

    engines: dict[str, Engine] = {}
    for plugin, found in plugins.engines():
        if not isinstance(found, Engine):
            raise PluginError(
                f"{plugin}: {found!r} is no engine: it needs name, options and run(job, options)"
            )
        if found.name in engines:
            raise PluginError(f"{plugin}: there is an engine called {found.name!r} already")
        for option in found.options:
            if taken & set(option.opts):
                raise PluginError(f"{plugin}: headrace run has an option {option.opts[0]} already")
            taken |= set(option.opts)
        engines[found.name] = found
    return engines
