"""The group of commands. It prints errors as one line; the exit code tells mistakes from failures."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from headrace import __version__
from headrace._support.interrupts import hides_interrupt
from headrace._support.text import printable
from headrace.cli.bench import bench
from headrace.cli.chat import chat
from headrace.cli.completion import completion
from headrace.cli.demo import demo
from headrace.cli.embed import embed
from headrace.cli.groups import fail_unknown_command
from headrace.cli.option_names import CommandContext, with_options
from headrace.cli.plugin_new import plugin
from headrace.cli.plugins import plugins
from headrace.cli.report import report
from headrace.cli.run import INTERRUPTED, run
from headrace.cli.serve import serve
from headrace.cli.simulate import simulate
from headrace.errors import HeadraceError, SetupError
from headrace.pipeline.plugin_manager import Plugins

_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Raised by a group without arguments, to print its help; older versions of click do not raise it."""

_LONGEST_LINE = 2000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Failure(click.ClickException):
    """An error that is printed as one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        # Messages may quote input and answers, and a terminal would obey escape sequences in them.
        line = printable(" ".join(self.message.split()))
        if len(line) > _LONGEST_LINE:
            line = f"{line[:_LONGEST_LINE]}…"
        click.echo(f"headrace: {line}", file=file, err=True)


class Mistake(Failure):
    """A mistake that was found before anything was sent."""

    exit_code = 2


class _Interrupted(BaseException):
    """A KeyboardInterrupt. Click would print "Aborted!" and exit with 1."""


@contextlib.contextmanager
def _own_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise _Interrupted from interrupt
    except Exception as error:
        if hides_interrupt(error):
            raise _Interrupted from error
        raise


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Print click's usage errors like all others, without the usage above them; and a full disk."""
    try:
        yield
    except _HELP:
        raise
    except click.UsageError as error:
        text = error.format_message().rstrip(".")
        if isinstance(error, click.NoSuchOption):
            text = f"no such option {error.option_name!r}"
            if error.possibilities:
                text += f"; did you mean {error.possibilities[0]!r}?"
        hint = "" if error.ctx is None else f"; see {error.ctx.command_path} --help"
        raise Mistake(f"{text[:1].lower()}{text[1:]}{hint}") from error
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        raise Failure(f"what it prints cannot be written: {error.strerror}") from error


class Commands(click.Group):
    """A group that adds the commands of plugins, and turns errors into messages."""

    _loaded = False

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            Plugins().commands(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, including those of plugins."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A built-in command, found without loading plugins, or else one of a plugin."""
        if cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, name the nearest."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            fail_unknown_command(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of commands. A broken plugin is skipped: completion cannot show its error."""
        with contextlib.suppress(HeadraceError):
            self._load()
        return super().shell_complete(ctx, incomplete)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; after Ctrl-C, exit with the status that shells use for it."""
        try:
            return super().main(*args, **extra)
        except _Interrupted:
            click.echo("headrace: interrupted", err=True)
            sys.exit(INTERRUPTED)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options that come before a command."""
        with _own_interrupt(), _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _own_interrupt(), _one_line():
                return super().invoke(ctx)
        except SetupError as error:
            raise Mistake(with_options(str(error), ctx)) from error
        except HeadraceError as error:
            raise Failure(with_options(str(error), ctx)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headrace")
def cli() -> None:
    """Make thousands of LLM calls at once, to any OpenAI-compatible endpoint.

    Set the endpoint with OPENAI_BASE_URL and its key with OPENAI_API_KEY. Other settings come from
    headrace.toml or HEADRACE_… variables. To try it without an endpoint: headrace demo
    """


for _command in (run, embed, report, chat, demo, serve, bench, simulate, plugins, plugin, completion):
    _command.context_class = CommandContext
    cli.add_command(_command)
