"""`headrace ctl`: looks at a bulk run that goes on, and steers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headrace.bulk import ControlMessage, Done


_LONGEST_MESSAGE = 10_000
"""Characters of what a run says; it may quote ids and values of plugins."""


@click.group(short_help="Look at a run that goes on, and steer it.")
@click.argument("out", metavar="OUT", type=click.Path(readable=False))
@click.pass_context
def ctl(ctx: click.Context, out: str) -> None:
    """Look at the run that writes to OUT, and steer it while it goes on.

    OUT is the output of the run, also if it is a table. The run must have been begun on this machine by the
    same user. Each change is logged, and written to the journal of the run.

    \b
    Examples:
      headrace ctl answers.jsonl status
      headrace ctl answers.jsonl pause
      headrace ctl answers.jsonl set max-in-flight=400 budget=10
      headrace ctl answers.jsonl cancel P17 P18

    \b
    Exit code: 0 done, 1 no run is alive or it refused, 2 a mistake in the command.
    """
    ctx.obj = out


@ctl.command()
@click.option("--json", "as_json", is_flag=True, help="Print the snapshot as one JSON object.")
@click.pass_obj
def status(out: str, as_json: bool) -> None:
    """Show what the run does, its totals and its limits."""
    import msgspec

    from headrace_view.control import connect
    from headrace_view.status_text import describe_status

    with connect(out) as client:
        snapshot = client.status()
    click.echo(msgspec.json.encode(snapshot) if as_json else describe_status(snapshot))


@ctl.command()
@click.pass_obj
def pause(out: str) -> None:
    """Send no more items until resume; those in flight are finished."""
    from headrace.bulk import PauseRun

    _send(out, PauseRun())


@ctl.command()
@click.pass_obj
def resume(out: str) -> None:
    """Send items again after a pause."""
    from headrace.bulk import ResumeRun

    _send(out, ResumeRun())


@ctl.command()
@click.pass_obj
def stop(out: str) -> None:
    """End the run when the calls in flight are finished, like Ctrl-C. The same command continues it."""
    from headrace.bulk import StopRun

    _send(out, StopRun())


@ctl.command(name="set")
@click.argument("limits", metavar="NAME=VALUE...", nargs=-1, required=True)
@click.pass_obj
def set_limits(out: str, limits: tuple[str, ...]) -> None:
    """Change limits of the run; NAME=none lifts one. status shows those that the run has.

    \b
    max-in-flight        the most calls at once
    budget               USD, for all sessions of the run
    requests-per-minute  for each model
    tokens-per-minute    for each model
    """
    from headrace.bulk import SetLimit

    messages = []
    for limit in limits:
        name, equals, value = limit.partition("=")
        if not equals or not name or not value:
            raise click.UsageError(f"{limit!r}: must be NAME=VALUE, like max-in-flight=400")
        messages.append(SetLimit(name=name, value=value))
    _send(out, *messages)


@ctl.command(name="retry-failed")
@click.pass_obj
def retry_failed(out: str) -> None:
    """Send the failed items again in this run."""
    from headrace.bulk import RetryFailed

    _send(out, RetryFailed())


@ctl.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def cancel(out: str, ids: tuple[str, ...]) -> None:
    """Let items fail that are in flight or were not sent yet."""
    from headrace.bulk import CancelItems

    done = _send(out, CancelItems(ids=list(ids)))
    if any(each.unknown or each.finished for each in done):
        raise SystemExit(1)


def _send(out: str, *messages: ControlMessage) -> list[Done]:
    """Send messages, and print what was done."""
    from headrace.plugins import shortened
    from headrace_view.control import connect

    with connect(out) as client:
        found = []
        for message in messages:
            found.append(client.send(message))
            click.echo(shortened(found[-1].message, _LONGEST_MESSAGE))
        return found
