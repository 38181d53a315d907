"""`headrace plugins`: what is installed."""

from __future__ import annotations

from typing import Any, cast

import click


@click.command(short_help="List the installed plugins and their settings.")
def plugins() -> None:
    """List the installed plugins: version, policies with their stages, and settings as they are now."""
    import attrs

    from headrace.pipeline import ordered
    from headrace.plugin_manager import Plugins
    from headrace.settings import load_settings

    found = Plugins()
    settings = load_settings({})
    if not found.found:
        click.echo("No plugins are installed; pip install 'headrace[standard]' brings some.")
    for plugin in found.found:
        click.echo(f"{plugin.name}  {plugin.distribution} {plugin.version}")
        policies = [policy for owner, policy in found.contributions(settings) if owner is plugin]
        if not policies:
            click.echo("  no policy, with the settings as they are")
        for policy in ordered(policies):
            click.echo(f"  policy {policy.name}, stage {policy.stage.name}")
            if attrs.has(type(policy)):
                for field in attrs.fields(cast(Any, type(policy))):
                    if field.init and field.repr:
                        click.echo(f"    {field.name} = {getattr(policy, field.name)!r}")
    settings.check_claimed()
