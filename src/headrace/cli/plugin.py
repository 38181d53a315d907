"""`headrace plugin new`: a plugin of one's own to begin with."""

from __future__ import annotations

import click

from headrace.policies import Stage


@click.group(short_help="Write a plugin of your own.")
def plugin() -> None:
    """Write a plugin of your own. (The installed ones: headrace plugins)"""


@plugin.command(short_help="Write a plugin that works, and its test.")
@click.argument("name", metavar="NAME")
@click.option("--into", metavar="DIR", default=".", help="Folder to write into; default: this one.")
@click.option(
    "--stage",
    type=click.Choice([each.name for each in Stage], case_sensitive=False),
    metavar="STAGE",
    default="OBSERVE",
    show_default=True,
    help=f"Where the policy stands: {', '.join(each.name for each in Stage)}.",
)
def new(name: str, into: str, stage: str) -> None:
    """Write a distribution with a policy that works, and a test that passes, into headrace-NAME.

    NAME is of lower-case letters, digits and hyphens. A folder that is there already is left alone.

    \b
    Example:
      headrace plugin new fairshare --stage PACE
    """
    import shlex
    from pathlib import Path

    from headrace.cli.scaffold import names_of, write_distribution

    names = names_of(name)
    written = write_distribution(names, Stage[stage.upper()], Path(into))
    for path in written:
        click.echo(path)
    folder = Path(into) / names.distribution
    click.echo("\nNext:")
    install = "pip", "install", "-e", f"{folder}[test]"
    for command in install, ("pytest", str(folder)), ("headrace", "plugins"):
        click.echo(f"  {shlex.join(command)}")
