"""`headrace completion`: prints the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print the completion script for your shell.")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for SHELL (bash, zsh or fish) that completes commands, options and file names.

    \b
    To install it, once, then start a new shell:
      bash: echo 'eval "$(headrace completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(headrace completion zsh)"' >> ~/.zshrc        (below compinit)
      fish: headrace completion fish > ~/.config/fish/completions/headrace.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "headrace", "_HEADRACE_COMPLETE").source(), nl=False)
