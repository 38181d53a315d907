"""`headrace report`: a page about a bulk run."""

from __future__ import annotations

import click

from headrace.cli import options


@click.command(short_help="Write a page about a bulk run.")
@click.argument("output", metavar="OUT.jsonl", type=options.FILE)
@click.option("--out", metavar="PAGE.html", type=options.FILE, help="The page; default: OUT.html, beside it.")
def report(output: str, out: str | None) -> None:
    """Write a page about the run whose output is OUT.jsonl: figures, pictures, failures, cost.

    It is one file that needs nothing else, for a browser or a printer. The run may go on meanwhile; the page
    is about what is done. A page of before is replaced.

    \b
    Example:
      headrace report answers.jsonl
    """
    from pathlib import Path

    from headrace.bulk.report import read_statistics, write_page
    from headrace.bulk.report.page import counted

    page = out or str(Path(output).with_suffix(".html"))
    statistics = read_statistics(output)
    write_page(statistics, output, page)
    click.echo(f"Report of {counted(statistics.items, 'item')}: {page}")
