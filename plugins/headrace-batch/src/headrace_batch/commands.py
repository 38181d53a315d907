"""The commands ``headrace batch status|wait|fetch|cancel OUT``."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from headrace_batch.observed_run import ObservedRun

T = TypeVar("T")

_OUT = click.argument("out", metavar="OUT", type=click.Path())


@click.group()
def batch() -> None:
    """Look at the batches of a run, wait for them, fetch their results, or cancel them.

    A run with --engine batch makes them, and continues if its command is run again. These commands are for a
    run that was left, by Ctrl-C or --detach. OUT is its output. Endpoint and key come from the settings.
    """


@batch.command()
@_OUT
def status(out: str) -> None:
    """Show the batches of the run that writes to OUT."""

    async def show(run: ObservedRun) -> None:
        await run.look()
        click.echo(run.describe())
        run.check()

    _observe(out, show)


@batch.command()
@_OUT
@click.option(
    "--poll",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="Longest time between two looks; default: 60.",
)
def wait(out: str, poll: float) -> None:
    """Wait until all batches of a run have ended; their results are not fetched."""

    async def wait_for_end(run: ObservedRun) -> None:
        await run.wait(poll, lambda text: click.echo(text, err=True))
        click.echo(f"{run.describe()}\nTo fetch the results: headrace batch fetch {shlex.quote(out)}")
        run.check()

    _observe(out, wait_for_end)


@batch.command()
@_OUT
def cancel(out: str) -> None:
    """Cancel the batches of a run. Rows that they have finished are paid, and can be fetched."""

    async def cancel_all(run: ObservedRun) -> None:
        number = await run.cancel()
        are = "batch is" if number == 1 else "batches are"
        click.echo(f"{number:,} {are} being cancelled." if number else "No batch is running.")
        run.check()

    _observe(out, cancel_all)


@batch.command()
@_OUT
@click.pass_context
def fetch(context: click.Context, out: str) -> None:
    """Continue a run: fetch the results, and send what is left.

    This runs the command again that began the run, in the current directory, without --detach.
    """
    from headrace import SettingsError
    from headrace.bulk import run_identity

    command = run_identity(out).command
    arguments = [] if command is None else shlex.split(command)[1:]
    if not arguments or arguments[0] not in ("run", "embed"):
        raise SettingsError(f"{out}: the run was begun from Python; call headrace.run again to continue it")
    group = context.find_root().command
    arguments = [each for each in arguments if each != "--detach"] + _own_out(
        out, arguments, context.find_root()
    )
    if not any(each == "--engine" or each.startswith("--engine=") for each in arguments):
        arguments += ["--engine", "batch"]
    group.main(arguments, prog_name="headrace")


def _own_out(out: str, arguments: list[str], root: click.Context) -> list[str]:
    """What makes a command write to ``out``, which a job file may name for another directory.

    Raises:
        SettingsError: The command writes to another file here, where it would send all rows again.
    """
    from headrace import SettingsError

    group = root.command
    assert isinstance(group, click.Group)
    command = group.commands[arguments[0]]
    # Options of engines are unknown here.
    known = click.Context(command, root, ignore_unknown_options=True)
    parser = command.make_parser(known)
    given = parser.parse_args(arguments[1:])[0].get("out")
    if given is None:
        return ["--out", out]
    if Path(given).resolve() != Path(out).resolve():
        raise SettingsError(
            f"{out}: its run was begun with --out {given}, which is another file here; fetch in the "
            f"directory in which it was begun, or run its command again with --out {out}"
        )
    return []


def _observe(out: str, work: Callable[[ObservedRun], Awaitable[None]]) -> None:
    import anyio

    from headrace_batch.observed_run import observed_run

    async def main() -> None:
        async with observed_run(Path(out)) as run:
            await work(run)

    anyio.run(main)
