"""The options of `headrace run` about its output: where it goes, and what of an earlier output is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import click

from headrace._support.text import quoted
from headrace.cli import options
from headrace.errors import SettingsError

if TYPE_CHECKING:
    from headrace.cli.options import Command

Only: TypeAlias = str | Path

_IDS, _FILTER = "ids:", "filter:"


class _Only(click.ParamType[Only]):
    """Which items are sent: ``failed``, ``ids:FILE`` or ``filter:CONDITION``."""

    name = "items"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Only:
        text = str(value)
        if text == "failed" or text.startswith(_FILTER):
            return text
        if not text.startswith(_IDS) or text == _IDS:
            self.fail(f"{quoted(text)}: must be failed, ids:FILE or filter:CONDITION", param, ctx)
        return Path(text.removeprefix(_IDS))


def _single(given: tuple[Only, ...]) -> Only | None:
    """The value of `--only`: of several, a person may mean the items of all, or of any."""
    if len(given) > 1:
        raise SettingsError(
            "--only: give it once; join conditions with and, like filter:price > 10 and stock > 0, "
            "and add --retry-failed for items that failed"
        )
    return given[0] if given else None


_OPTIONS = [
    click.option(
        "--out",
        required=True,
        metavar="OUT.jsonl",
        type=options.FILE,
        help="Output file; it is the journal too. OUT.csv or OUT.parquet is a table, with the journal "
        "beside it. With -, the lines go to stdout, and the run cannot be continued.",
    ),
    click.option(
        "--table", metavar="FILE", help="Also write the finished items as a table: FILE.csv or FILE.parquet."
    ),
    click.option("--retry-failed", is_flag=True, help="Send items that failed before again."),
    click.option(
        "--only",
        type=_Only(),
        multiple=True,
        metavar="failed|ids:FILE|filter:CONDITION",
        help="failed: the same as --retry-failed. ids:FILE: send only the items with these ids, one "
        "per line. filter:CONDITION: send only rows like filter:price > 10.",
    ),
    click.option(
        "--changed",
        type=click.Choice(["refuse", "resend"]),
        default="refuse",
        help="What to do with done rows that have changed in INPUT; default: refuse.",
    ),
    click.option(
        "--keep-done", is_flag=True, help="Keep what is done, and send the rest with another prompt or model."
    ),
    click.option("--fresh", is_flag=True, help="Begin a new output; keep the old one as OUT.jsonl.1."),
]


def output_options(command: Command) -> Command:
    """Add the options to a command."""
    return options.with_all(_OPTIONS, command)


@attrs.frozen(kw_only=True)
class OutputArguments:
    """The values of the options.

    Args:
        out: The output.
        table: The table, or None.
        only: The file with the ids of the items to send, or a filter; None for all items.
        retry_failed: Whether failed items are sent again.
        resend_changed: Whether changed rows are sent again.
        keep_done: Whether done items stay although the run has changed.
        fresh: Whether a new output begins.
    """

    out: str
    table: str | None
    only: Only | None
    retry_failed: bool
    resend_changed: bool
    keep_done: bool
    fresh: bool

    @classmethod
    def pop(cls, values: dict[str, Any]) -> OutputArguments:
        """Remove the values of the options from those of a command."""
        only = _single(values.pop("only"))
        return cls(
            out=values.pop("out"),
            table=values.pop("table"),
            only=None if only == "failed" else only,
            retry_failed=values.pop("retry_failed") or only == "failed",
            resend_changed=values.pop("changed") == "resend",
            keep_done=values.pop("keep_done"),
            fresh=values.pop("fresh"),
        )

    @property
    def to_stdout(self) -> bool:
        """Whether stdout gets the lines, so that everything else goes to stderr."""
        return self.out == "-"

    @property
    def journal_options(self) -> dict[str, Any]:
        """The arguments of `PreparedRun.open_journal`."""
        names = ("retry_failed", "resend_changed", "keep_done", "fresh")
        return {name: getattr(self, name) for name in names}
