"""`headrace run --engine`: the engines of plugins, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.core import ParameterSource

from headrace._support.text import nearest
from headrace.cli.help_sections import CommandWithSections
from headrace.errors import PluginError, SettingsError

if TYPE_CHECKING:
    from headrace.pipeline.bulk_engines import Engine, ExecutorEngine
    from headrace.pipeline.plugin_manager import Plugin, Plugins

    AnyEngine: TypeAlias = Engine | ExecutorEngine


class CommandWithEngines(CommandWithSections):
    """A command that has the options of engines in addition to its own.

    Plugins are loaded only if ``--engine`` or an unknown option is given, because importing all of them takes
    as long as the rest of ``--help``.
    """

    _engines: dict[str, AnyEngine] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; load the engines first if they may be needed."""
        self.load_engines(args)
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            if self._engines is not None:
                raise
            _ = self.engines
            return super().parse_args(ctx, args)

    def load_engines(self, args: list[str]) -> None:
        """Load the engines if these arguments name one."""
        if self._engines is None and any(each.partition("=")[0] == "--engine" for each in args):
            _ = self.engines

    @property
    def engines(self) -> dict[str, AnyEngine]:
        """The engines by name; raises `PluginError` for an invalid one, or for names that clash."""
        if self._engines is None:
            from headrace.pipeline.plugin_manager import Plugins

            self._engines = {engine.name: engine for _, engine in self.engines_of(Plugins())}
        return self._engines

    def engines_of(self, plugins: Plugins) -> list[tuple[Plugin, AnyEngine]]:
        """The engines of each plugin; raises as ``engines`` does."""
        return _checked(plugins, {name for each in self.params for name in each.opts})

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the command, those of the loaded engines, and --help."""
        *own, last = super().get_params(ctx)
        found = (self._engines or {}).values()
        return [*own, *(option for engine in found for option in engine.options), last]

    def chosen(self, name: str | None, options: Mapping[str, Any]) -> tuple[AnyEngine | None, dict[str, Any]]:
        """The engine called ``name`` and the values of its options.

        Raises `SettingsError` for an unknown engine, and for an option of another engine.
        """
        if name is not None and name not in self.engines:
            raise SettingsError(f"--engine {name}: {_unknown(name, self.engines)}")
        engine = None if name is None else self.engines[name]
        source_of = click.get_current_context().get_parameter_source
        values = {}
        for each in (self._engines or {}).values():
            for option in each.options:
                value = options.get(str(option.name))
                if each is engine:
                    values[str(option.name)] = value
                elif source_of(str(option.name)) is not ParameterSource.DEFAULT:
                    raise SettingsError(f"{option.opts[0]}: only for --engine {each.name}")
        return engine, values


def _unknown(name: str, engines: Mapping[str, AnyEngine]) -> str:
    from headrace.settings.known_plugins import missing_plugin

    distribution = missing_plugin(name)
    if distribution is not None:
        return f"not installed; pip install {distribution}"
    return f"no such engine; {nearest(name, engines)}" if engines else "no plugin with an engine is installed"


def _checked(plugins: Plugins, taken: set[str]) -> list[tuple[Plugin, AnyEngine]]:
    from headrace.pipeline.bulk_engines import Engine, ExecutorEngine

    engines: list[tuple[Plugin, AnyEngine]] = []
    for plugin, found in plugins.engines():
        if not isinstance(found, (Engine, ExecutorEngine)):
            raise PluginError(
                f"{plugin}: {found!r} is not an engine: it needs name, options and run(job, options), or "
                "open_executor(setup, options)"
            )
        if any(found.name == engine.name for _, engine in engines):
            raise PluginError(f"{plugin}: another plugin has an engine called {found.name!r}")
        for option in found.options:
            if taken & set(option.opts):
                raise PluginError(f"{plugin}: headrace run already has an option {option.opts[0]}")
            taken |= set(option.opts)
        engines.append((plugin, found))
    return engines
