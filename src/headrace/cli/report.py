"""`headrace report`: writes a page about a bulk run."""

from __future__ import annotations

import click

from headrace.cli import options


@click.command(short_help="Write a page about a bulk run.")
@click.argument("output", metavar="OUT.jsonl", type=options.FILE)
@click.option("--out", metavar="PAGE.html", type=options.FILE, help="The page; default: OUT.html.")
@click.option("--no-content", is_flag=True, help="Leave out prompts, answers and messages of errors.")
def report(output: str, out: str | None, no_content: bool) -> None:
    """Write a page about the run with output OUT.jsonl: figures, charts, answers, failures, cost and rows.
    If the output of the run was a table, name the table.

    The page is one file for a browser or a printer. The run may still be going on; the page is about the
    finished items. An older page is replaced.

    \b
    Example:
      headrace report answers.jsonl
    """
    from pathlib import Path

    from headrace._support.units import format_count
    from headrace.bulk.report import read_statistics, write_page
    from headrace.bulk.tables import lines_of

    page, lines = out or str(Path(output).with_suffix(".html")), lines_of(Path(output))
    statistics = read_statistics(lines, content=not no_content)
    write_page(statistics, lines, page)
    click.echo(f"Report of {format_count(statistics.items, 'item')}: {page}")
