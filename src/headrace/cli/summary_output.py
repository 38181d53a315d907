"""What `headrace run` prints at its end: the summary as text or JSON, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

if TYPE_CHECKING:
    from headrace.bulk import Summary


@attrs.frozen
class SummaryOutput:
    """How a run prints its summary.

    Args:
        as_json: Print one JSON object on stdout, and nothing else there.
        quiet: Print only errors, on stderr, and the JSON object if ``as_json`` is set.
        to_stderr: Print the text on stderr: stdout has the lines of the run, which cannot be continued.
    """

    as_json: bool
    quiet: bool
    to_stderr: bool = False

    def print(self, summary: Summary, out: str, table: str | None = None) -> None:
        """Print the summary of a session, and why it stopped early."""
        from headrace.bulk.summary_json import encode_summary

        stopped = _stop_sentence(summary, resumable=not self.to_stderr)
        if self.as_json:
            click.echo(encode_summary(summary, out, table))
        elif not self.quiet:
            text = _as_text(summary, stopped, out, table, resumable=not self.to_stderr)
            click.echo(text, err=self.to_stderr)
            return
        if stopped and summary.stopped_by != "interrupt":
            click.echo(f"headrace: {' '.join(stopped.split())}", err=True)


def _as_text(summary: Summary, stopped: str, out: str, table: str | None, *, resumable: bool) -> str:
    """The summary, and what to do next if items are left."""
    from headrace.bulk.summary_text import describe
    from headrace.cli.option_names import with_options

    lines = [with_options(describe(summary), click.get_current_context()), f"  output     {out}"]
    if table is not None:
        lines.append(f"  table      {table}")
    if stopped:
        lines.append(stopped)
    elif resumable and summary.failed_before + summary.failed:
        lines.append("To send the failed items again, add --retry-failed to the same command.")
    return "\n".join(lines)


def _stop_sentence(summary: Summary, *, resumable: bool) -> str:
    """Why the session stopped early, and how to continue; empty if it did not."""
    from headrace.cli.option_names import with_options
    from headrace.errors import InputError, RunDetached

    if summary.stopped_by is None:
        return ""
    if isinstance(summary.stopped_by, RunDetached):
        return str(summary.stopped_by)
    why = ""
    if summary.stopped_by != "interrupt":
        why = f"Stopped: {with_options(str(summary.stopped_by), click.get_current_context())}. "
    if summary.going_on:
        return why + summary.going_on
    at_least = "" if summary.counted else "At least "
    left = f"{at_least}{summary.left:,} of {summary.total:,} items are left unsent"
    # The error of a changed input says itself how to continue.
    said = isinstance(summary.stopped_by, InputError)
    again = "" if said or not resumable else "; run the same command again to continue"
    return f"{why}{left}{again}."
