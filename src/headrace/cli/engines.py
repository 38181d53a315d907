"""`headrace run --engine`: the engines that plugins bring, and the options that come with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headrace._support.text import nearest
from headrace.errors import PluginError, SettingsError

if TYPE_CHECKING:
    from headrace.pipeline.engines import Engine
    from headrace.pipeline.plugin_manager import Plugin, Plugins


class CommandWithEngines(click.Command):
    """A command that has the engines' options besides its own.

    Plugins are looked for where ``--engine`` stands, or an option that is not the command's own: to import
    them all takes as long as the rest of ``--help``.
    """

    _engines: dict[str, Engine] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them, and where they may mean an engine, look for engines before."""
        if self._engines is None and any(each.partition("=")[0] == "--engine" for each in args):
            _ = self.engines
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            if self._engines is not None:
                raise
            _ = self.engines
            return super().parse_args(ctx, args)

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines by name; raises `PluginError` for two of one name or option, and for what is none."""
        if self._engines is None:
            from headrace.pipeline.plugin_manager import Plugins

            self._engines = {engine.name: engine for _, engine in self.engines_of(Plugins())}
        return self._engines

    def engines_of(self, plugins: Plugins) -> list[tuple[Plugin, Engine]]:
        """Each plugin's engines; raises as ``engines`` does."""
        return _checked(plugins, {name for each in self.params for name in each.opts})

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own, those of the engines that were looked for, and --help."""
        *own, last = super().get_params(ctx)
        found = (self._engines or {}).values()
        return [*own, *(option for engine in found for option in engine.options), last]

    def chosen(self, name: str | None, options: Mapping[str, Any]) -> tuple[Engine | None, dict[str, Any]]:
        """The engine of this name and its options' values; raises `SettingsError` for others' options."""
        if name is not None and name not in self.engines:
            raise SettingsError(f"--engine {name}: no plugin brings it; {nearest(name, self.engines)}")
        engine = None if name is None else self.engines[name]
        source_of = click.get_current_context().get_parameter_source
        given = {}
        for each in (self._engines or {}).values():
            for option in each.options:
                value = options.get(str(option.name))
                if each is engine:
                    given[str(option.name)] = value
                elif source_of(str(option.name)) is not ParameterSource.DEFAULT:
                    raise SettingsError(f"{option.opts[0]} is for --engine {each.name}")
        return engine, given


def _checked(plugins: Plugins, taken: set[str]) -> list[tuple[Plugin, Engine]]:
    from headrace.pipeline.engines import Engine

    engines: list[tuple[Plugin, Engine]] = []
    for plugin, found in plugins.engines():
        if not isinstance(found, Engine):
            raise PluginError(
                f"{plugin}: {found!r} is no engine: it needs name, options and run(job, options)"
            )
        if any(found.name == engine.name for _, engine in engines):
            raise PluginError(f"{plugin}: there is an engine called {found.name!r} already")
        for option in found.options:
            if taken & set(option.opts):
                raise PluginError(f"{plugin}: headrace run has an option {option.opts[0]} already")
            taken |= set(option.opts)
        engines.append((plugin, found))
    return engines
