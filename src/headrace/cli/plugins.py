"""`headrace plugins`: lists the installed plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.pipeline.plugin_manager import Plugin, Plugins
    from headrace.settings import Settings


@click.command(short_help="List the installed plugins and their settings.")
@click.pass_context
def plugins(ctx: click.Context) -> None:
    """List the installed plugins with their versions, what each provides, and its current settings.

    A plugin can provide policies, observers, a transport, engines for headrace run, and commands.
    """
    from headrace.pipeline.plugin_manager import Plugins
    from headrace.settings import load_settings

    found = Plugins()
    settings = load_settings({})
    provided = _provided(found, settings)
    settings.check_claimed()
    if not found.found:
        click.echo("No plugins are installed. To install some: pip install 'headrace[standard]'")
    for plugin in found.found:
        click.echo(f"{plugin.name}  {plugin.distribution} {plugin.version}")
        lines = [*provided[plugin.name], *_commands(found, plugin, ctx.find_root().command)]
        click.echo("\n".join(f"  {line}" for line in lines or ["nothing"]))


def _provided(found: Plugins, settings: Settings) -> dict[str, list[str]]:
    """The contributions of each plugin with these settings, as lines."""
    from headrace.cli.run import run
    from headrace.pipeline.pipeline import sort_policies

    policies, observers = found.contributions(settings), found.contributed_observers(settings)
    transports = [offer for offer in [found.offered_transport(settings)] if offer is not None]
    engines = run.engines_of(found)
    owner_of = {policy.name: owner for owner, policy in policies}
    lines: dict[str, list[str]] = {plugin.name: [] for plugin in found.found}
    for policy in sort_policies(policy for _, policy in policies):
        lines[owner_of[policy.name].name] += [
            f"policy {policy.name}, stage {policy.stage.name}",
            *_settings_of(policy),
        ]
    for owner, observer in observers:
        lines[owner.name] += [f"observer {observer.name}", *_settings_of(observer)]
    for owner, transport in transports:
        lines[owner.name] += [f"transport {type(transport).__name__}", *_settings_of(transport)]
    for owner, engine in engines:
        options = ", ".join(option.opts[0] for option in engine.options)
        lines[owner.name].append(f"engine {engine.name}" + (f", options {options}" if options else ""))
    for hook, kind, offers in (
        ("headrace_policies", "policy", policies),
        ("headrace_observers", "observer", observers),
        ("headrace_transport", "transport", transports),
    ):
        owners = {owner.name for owner, _ in offers}
        for plugin in found.found:
            if hook in found.hooks_of(plugin) and plugin.name not in owners:
                lines[plugin.name].append(f"no {kind}, with the current settings")
    return lines


def _settings_of(provided: object) -> Iterator[str]:
    import attrs

    if attrs.has(type(provided)):
        for field in attrs.fields(cast(Any, type(provided))):
            if field.init and field.repr:
                yield f"  {field.name} = {getattr(provided, field.name)!r}"


def _commands(found: Plugins, plugin: Plugin, cli: click.Command) -> Iterator[str]:
    """The commands that a plugin adds to a copy of the command line."""
    own = cli.commands if isinstance(cli, click.Group) else {}
    group = click.Group(commands=dict(own))
    found.commands_of(plugin, group)
    for name, command in group.commands.items():
        if own.get(name) is not command:
            yield f"command {name}"
