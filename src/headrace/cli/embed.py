"""`headrace embed`: embeds the texts of a column of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import options
from headrace.cli.engine_options import CommandWithEngines
from headrace.cli.output_options import OutputArguments
from headrace.cli.prompt_options import extra_body_of
from headrace.cli.run import client_for, exit_code, run

if TYPE_CHECKING:
    from headrace.bulk.embedding import PreparedEmbedding

_SECTIONS = {
    "Input and output": ("column", "out", "encoding", "id_column", "limit", "table", "on_missing"),
    "Resuming": ("retry_failed", "only", "changed", "keep_done", "fresh"),
    "Model and requests": ("model", "dimensions", "batch_size", "extra_body"),
    "Endpoint and limits": ("base_url", "max_in_flight", "budget", "deadline", "wait_for_endpoint"),
    "How it runs": ("dry_run", "engine", "as_json", "quiet", "verbose"),
}
"""The options in the help."""

_OWN = ("column", "out", "table", "dimensions", "batch_size")
_OF_RUN = {name for names in _SECTIONS.values() for name in names if name not in _OWN}
"""Options that mean the same as those of `headrace run`, so they are the same objects."""


@click.command(
    cls=CommandWithEngines,
    sections=_SECTIONS,
    params=[each for each in run.params if each.name in _OF_RUN],
    short_help="Embed the texts of a column of a file.",
)
@click.argument("input", metavar="INPUT", type=options.FILE)
@click.option("--column", required=True, metavar="NAME", help="Column of the texts, or a key like a.b.")
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=options.FILE,
    help="FILE.parquet or FILE.npy, with the journal beside it as FILE.parquet.jsonl; or FILE.jsonl, which "
    "is the journal too. With -, the lines go to stdout, and the run cannot be continued.",
)
@click.option(
    "--table", metavar="FILE", help="With --out FILE.jsonl: also write the vectors as .parquet or .npy."
)
@click.option(
    "--dimensions", type=options.COUNT, metavar="N", help="Length of the vectors; default: the model's."
)
@click.option(
    "--batch-size", type=options.COUNT, metavar="N", help="The most texts in a request; default: 256."
)
def embed(
    input: str,
    column: str,
    dimensions: int | None,
    batch_size: int | None,
    model: str | None,
    base_url: str | None,
    max_in_flight: int | None,
    id_column: str | None,
    encoding: str | None,
    limit: int | None,
    on_missing: str,
    budget: str | None,
    deadline: float | None,
    wait_for_endpoint: float,
    dry_run: bool,
    engine: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **others: Any,
) -> None:
    """Embed the texts in a column of INPUT, many in one request, and write the vectors to FILE.

    INPUT is as for headrace run. FILE.parquet has the input's columns and the column embedding. FILE.npy is
    a matrix with a row for each row of INPUT, and FILE.npy.ids.json has their ids. If a run was interrupted,
    run the same command again: it continues where it stopped.

    \b
    Examples:
      headrace embed products.csv --column description --out vectors.parquet --model text-embedding-3-small
      headrace embed texts.jsonl.gz --column text --out vectors.npy --model bge-m3 --batch-size 64
      headrace embed texts.parquet --column text --out vectors.parquet --dimensions 256 --dry-run

    \b
    Exit code: 0 all items succeeded, 1 some failed or an error stopped the run,
    2 a mistake in the command or its input, 130 interrupted.
    """
    import functools

    from headrace.bulk import raise_file_limit
    from headrace.bulk.embedding import prepare_embedding
    from headrace.cli.kept_command import kept_command
    from headrace.cli.progress import ProgressDisplay
    from headrace.cli.summary_output import SummaryOutput
    from headrace.cli.terminal_run import accompany_with, perform, perform_with_engine, run_async
    from headrace.errors import HeadraceError, JournalError, SettingsError
    from headrace.pipeline.bulk_engines import ExecutorEngine

    if quiet and verbose:
        raise SettingsError("--quiet: leave out --verbose")
    if dry_run and (as_json or quiet):
        raise SettingsError("--dry-run: leave out --json and --quiet")
    chosen, engine_values = embed.chosen(engine, others)
    if chosen is not None and not isinstance(chosen, ExecutorEngine):
        raise SettingsError(f"--engine {engine}: embeds no texts; leave it out")
    target = OutputArguments.pop(others)
    if target.to_stdout and as_json:
        raise SettingsError("--out -: leave out --json; stdout has only the lines")
    display = ProgressDisplay(bar=sys.stderr.isatty() and not verbose and not quiet, quiet=quiet)
    output = SummaryOutput(as_json, quiet, to_stderr=target.to_stdout)
    cost = {} if budget is None else {"cost": {"budget": budget}}
    client = client_for(
        verbose,
        quiet,
        base_url=base_url,
        model=model,
        max_in_flight=max_in_flight,
        observers=[display],
        **cost,
    )
    prepared = prepare_embedding(
        input,
        target.out,
        client.settings.model,
        column=column,
        dimensions=dimensions,
        batch_size=batch_size,
        extra_body=extra_body_of(others["extra_body"]),
        on_missing=on_missing,
        id_column=id_column,
        encoding=encoding,
        limit=limit,
        table=target.table,
        only=target.only,
    )
    if dry_run:
        from headrace.cli.embed_preview import preview_embedding

        click.echo(preview_embedding(client, prepared, chosen))
        return
    with prepared.open_journal(command=kept_command(client), **target.journal_options) as journal:
        bulk = prepared.begin(
            journal, wait_for_endpoint=wait_for_endpoint, deadline=deadline, notify=display.print_line
        )
        raise_file_limit(client.settings.max_in_flight)
        accompany = accompany_with(bulk, journal, client, display, engine)
        try:
            if chosen is not None:
                setup = prepared.engine_setup(client, journal, display.print_line, bulk.drawn)
                open_executor = functools.partial(chosen.open_executor, setup, engine_values)
                summary = run_async(
                    lambda: perform_with_engine(bulk, open_executor, client, display, accompany)
                )
            else:
                executor = prepared.local_executor(client, journal)
                summary = run_async(functools.partial(perform, bulk, executor, client, display, accompany))
        except JournalError as error:  # calls were made: this is not a mistake in the command
            raise HeadraceError(str(error)) from error
        written = prepared.write_table()
    output.print(summary, str(prepared.out or "stdout"), _table_name(prepared, as_json) if written else None)
    sys.exit(exit_code(summary))


def _table_name(prepared: PreparedEmbedding, as_json: bool) -> str:
    """The path of the table, for people with the rows of a matrix that have no vector."""
    table = prepared.table
    assert table is not None  # it was written
    return f"{table.path}" if as_json or not table.missing.number else f"{table.path}: {table.missing}"
