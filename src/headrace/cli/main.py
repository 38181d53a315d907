"""The group of commands, and how errors leave it: one line, and an exit code for whose mistake it is."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from headrace import __version__
from headrace.cli.bench import bench
from headrace.cli.chat import chat
from headrace.cli.completion import completion
from headrace.cli.demo import demo
from headrace.cli.plugin import plugin
from headrace.cli.plugins import plugins
from headrace.cli.report import report
from headrace.cli.run import INTERRUPTED, run
from headrace.cli.serve import serve
from headrace.cli.simulate import simulate
from headrace.errors import HeadraceError, SetupError
from headrace.pipeline.plugin_manager import Plugins


class Failure(click.ClickException):
    """A HeadraceError on its way to the terminal, as one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        click.echo(f"headrace: {' '.join(self.message.split())}", file=file, err=True)


class Mistake(Failure):
    """One found before anything is sent; exits as click does for a wrong option."""

    exit_code = 2


class _Interrupted(BaseException):
    """A KeyboardInterrupt that click does not turn into "Aborted!" and status 1."""


@contextlib.contextmanager
def _own_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise _Interrupted from interrupt


class Commands(click.Group):
    """A group that takes in the plugins' commands and turns HeadraceErrors into messages."""

    _loaded = False

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            Plugins().commands(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our commands and the plugins'."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of ours without a look at the plugins, else one of theirs."""
        if cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for an unknown one."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of commands; where a plugin is broken, without its own: a shell is no place to say so."""
        with contextlib.suppress(HeadraceError):
            self._load()
        return super().shell_complete(ctx, incomplete)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; Ctrl-C ends it with the status that shells have for that."""
        try:
            return super().main(*args, **extra)
        except _Interrupted:
            click.echo("headrace: interrupted", err=True)
            sys.exit(INTERRUPTED)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options that come before a command."""
        with _own_interrupt():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _own_interrupt():
                return super().invoke(ctx)
        except HeadraceError as error:
            raise (Mistake if isinstance(error, SetupError) else Failure)(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headrace")
def cli() -> None:
    """Many thousand LLM calls at once, to any OpenAI-compatible endpoint.

    The endpoint and its key come from OPENAI_BASE_URL and OPENAI_API_KEY, other settings from
    headrace.toml or HEADRACE_… variables. To see it work without either: headrace demo
    """


for _command in (run, report, chat, demo, serve, bench, simulate, plugins, plugin, completion):
    cli.add_command(_command)
