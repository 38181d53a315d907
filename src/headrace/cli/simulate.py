"""`headrace simulate`: runs a scenario in virtual time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headrace.cli import options

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from headrace.testing.simulation import SimulationResult, Variant
    from headrace.testing.simulation.tables import Table

_WIDEST = 10_000
_CLEAR = "\r\033[K"


@click.command(short_help="Simulate a load, an endpoint and your settings.")
@click.argument("scenario", metavar="SCENARIO", type=options.FILE, required=False)
@click.option("--settings", metavar="FILE", type=options.FILE, help="A headrace.toml to try as well.")
@click.option("--csv", "table", metavar="FILE", type=options.FILE, help="Write all rows as CSV.")
@click.option("--out", metavar="PAGE.html", type=options.FILE, help="Write a page with charts.")
@click.option("--list", "names", is_flag=True, help="List the bundled scenarios.")
@click.option("--show", is_flag=True, help="Print the file of the scenario instead of running it.")
def simulate(
    scenario: str | None, settings: str | None, table: str | None, out: str | None, names: bool, show: bool
) -> None:
    """Run SCENARIO in virtual time and print the results. It is a TOML file, or the name of a bundled one.

    The client and the policies are real; the load and the endpoint are simulated, and nothing is sent. The
    same scenario always prints the same.

    \b
    Examples:
      headrace simulate --list
      headrace simulate black-friday --settings headrace.toml --out page.html
      headrace simulate scenario.toml --csv rows.csv
    """
    from pathlib import Path

    from headrace.cli.run import INTERRUPTED
    from headrace.errors import InputError
    from headrace.testing.simulation import bundled, with_settings
    from headrace.testing.simulation import simulate as run

    if names:
        for name in bundled.bundled_names():
            click.echo(f"{name:24}{bundled.find_scenario(name).title}")
        return
    if scenario is None:
        raise click.UsageError("Missing argument 'SCENARIO': a file, or a name from --list.")
    chosen = bundled.find_scenario(scenario)
    if show:
        click.echo(bundled.scenario_text(scenario), nl=False)
        return
    for path in filter(None, (table, out)):
        if not Path(path).absolute().parent.is_dir():
            raise InputError(f"{path}: the folder does not exist")
    if settings is not None:
        chosen = with_settings(chosen, settings)
    result = None
    at_terminal = sys.stderr.isatty()
    try:
        result = run(chosen, _show_progress if at_terminal else None)
    except* KeyboardInterrupt:
        click.echo(f"{_CLEAR if at_terminal else ''}Interrupted.", err=True)
    if result is None:
        sys.exit(INTERRUPTED)
    if at_terminal:
        click.echo(_CLEAR, nl=False, err=True)
    _print(result)
    if table is not None:
        _write_csv(result, table)
        click.echo(f"Rows: {table}")
    if out is not None:
        from headrace.testing.simulation.page import write_page

        write_page(result, out)
        click.echo(f"Page: {out}")


def _show_progress(variant: Variant, share: float) -> None:
    """Show the progress of the simulation, on one line."""
    click.echo(f"{_CLEAR}{variant.name or 'simulating'} {share:.0%}", nl=False, err=True)


def _print(result: SimulationResult) -> None:
    """Print the tables at full width; a narrow terminal wraps them."""
    from rich.console import Console

    from headrace.testing.simulation import tables

    console = Console(highlight=False, markup=False, width=_WIDEST)
    with console.capture() as captured:
        if result.scenario.title:
            console.print(result.scenario.title, style="bold")
        for run in result.runs:
            console.print()
            if run.variant.name:
                console.print(run.variant.name, style="bold")
            console.print(_rich_table(tables.timeline(result, run)))
        console.print()
        console.print(_rich_table(tables.overview(result)))
        console.print()
        for note in tables.notes(result):
            console.print(note)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _rich_table(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    last = len(table.headings) - 1
    for number, heading in enumerate(table.headings):
        left = number == 0 or number == last
        rich_table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in table.rows:
        rich_table.add_row(*(Text(cell) for cell in row))
    return rich_table


def _write_csv(result: SimulationResult, path: str) -> None:
    from headrace.errors import InputError
    from headrace.testing.simulation import tables

    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            tables.write_csv(result, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
