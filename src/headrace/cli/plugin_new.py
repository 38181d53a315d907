"""`headrace plugin new`: writes a plugin to start from."""

from __future__ import annotations

import click

from headrace.policies import Stage


class _PluginGroup(click.Group):
    """A group that refers to the other command, ``headrace plugins``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, name ``headrace plugins``."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            ctx.fail(
                f"no such command {args[0]!r}; did you mean 'headrace plugins', which lists the installed "
                "plugins, or 'headrace plugin new'?"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_PluginGroup, short_help="Write your own plugin.")
def plugin() -> None:
    """Write your own plugin. To list the installed plugins: headrace plugins"""


@plugin.command(short_help="Write a working plugin with a test.")
@click.argument("name", metavar="NAME")
@click.option("--into", metavar="DIR", default=".", help="Folder for the new plugin; default: this one.")
@click.option(
    "--stage",
    type=click.Choice([each.name for each in Stage], case_sensitive=False),
    metavar="STAGE",
    default="OBSERVE",
    show_default=True,
    help=f"Stage of the policy: {', '.join(each.name for each in Stage)}.",
)
def new(name: str, into: str, stage: str) -> None:
    """Write a plugin with a working policy and a passing test into the new folder headrace-NAME.

    NAME consists of lower-case letters, digits and hyphens. An existing folder is not changed.

    \b
    Example:
      headrace plugin new fairshare --stage PACE
    """
    import shlex
    from pathlib import Path

    from headrace.cli.scaffold import plugin_names, write_distribution

    names = plugin_names(name)
    written = write_distribution(names, Stage[stage.upper()], Path(into))
    for path in written:
        click.echo(path)
    folder = Path(into) / names.distribution
    click.echo("\nNext:")
    install = "pip", "install", "-e", f"{folder}[test]"
    for command in install, ("pytest", str(folder)), ("headrace", "plugins"):
        click.echo(f"  {shlex.join(command)}")
