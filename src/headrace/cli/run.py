"""`headrace run`: a prompt over a file."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import options
from headrace.cli.engines import CommandWithEngines

if TYPE_CHECKING:
    from headrace.bulk import Summary
    from headrace.client import Client

SOME_FAILED, INTERRUPTED = 1, 130

_SAID = ("headrace.cache", "headrace.redis")
"""Loggers whose warnings a run shows: what they say is in no summary."""


@click.command(cls=CommandWithEngines, short_help="Send a prompt for every row of a file.")
@click.argument("input", metavar="INPUT", type=options.FILE)
@click.option("--prompt", help="Template of the prompt; {name} stands for a row's column of that name.")
@click.option(
    "--out", required=True, metavar="OUT.jsonl", type=options.FILE, help="Output, which is the journal too."
)
@options.model
@options.base_url
@click.option("--max-in-flight", type=click.IntRange(min=1), metavar="N", help="Calls at once; default: 100.")
@options.system
@options.parameters
@click.option("--choices", metavar="A,B,C", help="The answer must be one of these.")
@click.option("--schema", metavar="FILE", help="The answer must be JSON that fits this JSON schema.")
@click.option("--id-column", metavar="NAME", help="Column of the ids; default: custom_id, id, or the row.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@click.option("--budget", metavar="USD", help="The most that the run may cost, with its earlier sessions.")
@click.option("--deadline", type=options.DURATION, metavar="TIME", help="Stop after so long, like 2h.")
@click.option(
    "--wait-for-endpoint",
    type=options.DURATION,
    default=600.0,
    metavar="TIME",
    help="How long an endpoint that is down is waited for, like 30m; default: 10m.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be sent and about what it costs; send nothing."
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --dry-run: send N of the rows, and estimate by their answers what all cost.",
)
@click.option(
    "--table", metavar="FILE", help="At the end, a table of what is done: FILE.csv or FILE.parquet."
)
@click.option("--retry-failed", is_flag=True, help="Send the items that failed before again.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=1, metavar="N", help="Processes that share the calls."
)
@click.option(
    "--engine",
    metavar="NAME",
    help="A plugin's engine that makes the run, like ray; --engine ray --help shows its options.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log to stderr, a line a call, in place of the bar.")
def run(
    input: str,
    prompt: str | None,
    out: str,
    model: str | None,
    base_url: str | None,
    max_in_flight: int | None,
    system: str | None,
    parameters: tuple[str, ...],
    choices: str | None,
    schema: str | None,
    id_column: str | None,
    limit: int | None,
    budget: str | None,
    deadline: float | None,
    wait_for_endpoint: float,
    dry_run: bool,
    sample: int | None,
    table: str | None,
    retry_failed: bool,
    processes: int,
    engine: str | None,
    verbose: bool,
    **engines_options: Any,
) -> None:
    """Send a prompt for every row of INPUT, and write what comes back to OUT.jsonl.

    INPUT is CSV, JSONL, Parquet or OpenAI's batch format, as it is or compressed with gzip or zstd
    (recognised by itself), or - for stdin. The output has one line an item, in OpenAI's batch output
    format. Run the same command again after an interruption, a crash or a kill: it goes on where it
    stopped.

    \b
    Examples:
      headrace run products.csv --out answers.jsonl --model deepseek-v3.2 \\
          --prompt "Ordne {name}: {description}" --choices Elektronik,Kleidung,Garten
      headrace run products.csv --out answers.jsonl --prompt "Describe {name}" --limit 20 --dry-run
      headrace run products.csv --out answers.jsonl --prompt "Describe {name}" --param temperature=0.3
      headrace run products.csv --out answers.jsonl --prompt "Sort {name}" --schema product.schema.json
      headrace run requests.jsonl --out answers.jsonl --max-in-flight 500 --budget 5.00
      headrace run texts.jsonl.gz --out answers.jsonl --prompt "Summarise: {text}"
      headrace run texts.parquet --out answers.jsonl --prompt "Summarise: {text}" --table answers.parquet

    \b
    Exit code: 0 all succeeded, 1 some failed or the run was stopped by an error,
    2 a mistake in the command or its input, 130 interrupted.
    """
    import functools

    from headrace.bulk import BulkRun, Journal, ProcessExecutor, Source, Task
    from headrace.bulk.executor import carry_over
    from headrace.bulk.tables import Table
    from headrace.bulk.template import Template
    from headrace.cli.progress import Watcher
    from headrace.cli.session import on_event_loop, perform, perform_in_processes
    from headrace.errors import HeadraceError, JournalError, SettingsError
    from headrace.pipeline.engines import Job

    if sample is not None and not dry_run:
        raise SettingsError("--sample goes with --dry-run")
    watcher = Watcher(bar=sys.stderr.isatty() and not verbose)
    cost = {} if budget is None else {"cost": {"budget": budget}}
    make_client = functools.partial(
        client_for, verbose, base_url=base_url, model=model, max_in_flight=max_in_flight, **cost
    )
    client = make_client(observers=[watcher])
    handed_to, values = run.chosen(engine, engines_options)
    if handed_to is not None:
        if dry_run or table is not None or processes != 1 or verbose:
            raise SettingsError("--dry-run, --table, --processes and --verbose are not for an --engine")
        job = Job(
            input=input,
            out=out,
            prompt=prompt,
            model=client.settings.model,
            choices=None if choices is None else choices.split(","),
            schema=None if schema is None else options.json_file("--schema", schema),
            system=system,
            parameters=options.parsed(parameters),
            id_column=id_column,
            limit=limit,
            make_client=make_client,
            max_in_flight=client.settings.max_in_flight,
            deadline=deadline,
            wait_for_endpoint=wait_for_endpoint,
            retry_failed=retry_failed,
        )
        summary = handed_to.run(job, values)
        click.echo(report(summary, out))
        sys.exit(exit_code(summary))
    source = Source(input, id_column, limit)
    wanted = None if table is None else Table(table, source, out)
    task = Task(
        source,
        None if prompt is None else Template(prompt),
        client.settings.model,
        None if choices is None else choices.split(","),
        system,
        options.parsed(parameters),
        None if schema is None else options.json_file("--schema", schema),
    )
    total = task.check()
    if dry_run:
        from headrace.cli.preview import preview
        from headrace.cli.sample import take_sample

        if sample is None:
            click.echo(preview(client, task, total))
        else:
            click.echo(on_event_loop(lambda: take_sample(client, task, total, sample)))
        return
    with Journal(out, task.fingerprint(), total, limit is not None) as journal:
        if retry_failed:
            journal.forget_failed()
        bulk = BulkRun(
            task,
            journal,
            total,
            wait_for_endpoint=wait_for_endpoint,
            deadline=deadline,
            say=watcher.say,
        )
        try:
            if processes == 1:
                carry_over(client, journal.spent)
                summary = on_event_loop(lambda: perform(client, bulk, task.choices, watcher))
            else:
                most = client.settings.max_in_flight
                executor = ProcessExecutor(
                    make_client, processes, most, task.choices, task.answer, watcher.hear, journal.spent
                )
                summary = on_event_loop(lambda: perform_in_processes(executor, bulk, watcher))
        except JournalError as error:  # no mistake in the command, and not before anything is sent
            raise HeadraceError(str(error)) from error
        if wanted is not None:
            wanted.write()
    click.echo(report(summary, out, table))
    sys.exit(exit_code(summary))


class _Warnings(logging.Handler):
    """Puts what is logged on stderr, as it is at that moment: above the bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"headrace: {record.getMessage()}", err=True)


def client_for(verbose: bool, **keywords: Any) -> Client:
    """The client of a process of the run, and its log."""
    from headrace.client import Client

    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    else:
        for name in _SAID:
            logger = logging.getLogger(name)
            if not logger.handlers:
                logger.addHandler(_Warnings(logging.WARNING))
    return Client(**keywords)


def report(summary: Summary, out: str, table: str | None = None) -> str:
    """The summary, and what to do next where something is left to do."""
    from headrace.bulk.summary_text import describe

    lines = [describe(summary), f"  output     {out}"]
    if table is not None:
        lines.append(f"  table      {table}")
    if summary.stopped_by is not None:
        why = "" if summary.stopped_by == "interrupt" else f"Stopped: {summary.stopped_by}. "
        lines.append(
            f"{why}{summary.left:,} of {summary.total:,} items are left unsent; "
            "the same command again goes on from here."
        )
    elif summary.failed_before + summary.failed:
        lines.append("The same command with --retry-failed sends the failed items again.")
    return "\n".join(lines)


def exit_code(summary: Summary) -> int:
    """What the command ends with; see its help."""
    if summary.stopped_by == "interrupt" and summary.left:
        return INTERRUPTED
    return SOME_FAILED if summary.left or summary.failed or summary.failed_before else 0
