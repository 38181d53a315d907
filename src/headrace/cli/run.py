"""`headrace run`: sends a prompt for every row of a file."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import options
from headrace.cli.job_command import CommandWithJobs, job_of
from headrace.cli.media_options import media_arguments, media_options
from headrace.cli.output_options import OutputArguments, output_options
from headrace.cli.prompt_options import prompt_arguments, prompt_options, sample_arguments

if TYPE_CHECKING:
    from headrace.bulk import Summary
    from headrace.client import Client

SOME_FAILED, INTERRUPTED = 1, 130

_SHOWN_LOGGERS = ("headrace.batch", "headrace.cache", "headrace.files", "headrace.redis")
"""Loggers whose warnings a run prints, because the summary does not contain them."""

_SECTIONS = {
    "Input and output": ("out", "encoding", "id_column", "limit", "table"),
    "Resuming": ("retry_failed", "only", "changed", "keep_done", "fresh"),
    "Prompt": (
        *("prompt", "prompt_file", "system", "system_file", "template", "messages", "examples"),
        *("image", "file", "audio", "max_pixels", "on_missing"),
    ),
    "Answer": ("choices", "schema", "fail_on", "samples", "vote"),
    "Model and parameters": ("model", "model_column", "parameters", "extra_body", "tags", "priority"),
    "Endpoint and limits": ("base_url", "max_in_flight", "budget", "deadline", "wait_for_endpoint"),
    "How it runs": ("dry_run", "sample", "processes", "engine", "as_json", "quiet", "verbose"),
}
"""The options in the help."""


@click.command(cls=CommandWithJobs, sections=_SECTIONS, short_help="Send a prompt for every row of a file.")
@click.argument("input", metavar="INPUT", type=options.FILE)
@prompt_options
@media_options
@output_options
@options.base_url
@click.option(
    "--max-in-flight", type=options.COUNT, metavar="N", help="Limit of calls at once; default: 100."
)
@click.option("--choices", metavar="A,B,C", help="The answer must be one of these.")
@click.option("--schema", metavar="FILE", help="File with the JSON schema of the answers.")
@click.option("--id-column", metavar="NAME", help="Column of the ids; default: custom_id, id or the row.")
@click.option(
    "--encoding", metavar="NAME", help="Encoding of text input, like cp1252; default: UTF-8, or by its BOM."
)
@click.option("--limit", type=options.COUNT, metavar="N", help="Send only the first N items.")
@click.option(
    "--budget", type=options.USD, metavar="USD", help="Limit of the cost, for all sessions of the run."
)
@click.option("--deadline", type=options.DURATION, metavar="TIME", help="Stop after this time, like 2h.")
@click.option(
    "--wait-for-endpoint",
    type=options.DURATION,
    default=600.0,
    metavar="TIME",
    help="How long to wait for an endpoint that is down, like 30m; default: 10m.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent and estimate the cost; send nothing.")
@click.option(
    "--sample",
    type=options.COUNT,
    metavar="N",
    help="With --dry-run: send N of the rows, and estimate the cost of all from them.",
)
@click.option(
    "--processes", type=options.COUNT, default=1, metavar="N", help="Number of processes; default: 1."
)
@click.option(
    "--engine",
    metavar="NAME",
    help="Engine of a plugin that makes the calls, like batch or ray; its options: --engine ray --help.",
)
@click.option(
    "--fail-on",
    metavar="REASONS",
    help="Answers that fail: length, content_filter, refusal, or none; default: content_filter,refusal.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors; no summary and no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Log one line per call to stderr instead of the bar.")
def run(
    input: str,
    model: str | None,
    base_url: str | None,
    max_in_flight: int | None,
    choices: str | None,
    schema: str | None,
    id_column: str | None,
    encoding: str | None,
    limit: int | None,
    budget: str | None,
    deadline: float | None,
    wait_for_endpoint: float,
    dry_run: bool,
    sample: int | None,
    processes: int,
    engine: str | None,
    fail_on: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **others: Any,
) -> None:
    """Send a prompt for every row of INPUT, and write the answers to OUT.jsonl.

    INPUT is CSV, JSONL, a JSON array, Parquet, Arrow, Excel (.xlsx) or OpenAI's batch format; - is stdin.
    It may be a URL, like https://, s3://, gs:// or hf://; that needs headrace[remote]. Text may be compressed
    with gzip or zstd. The format is detected. OUT.jsonl gets one line per item, in OpenAI's batch output
    format. If a run was interrupted, run the same command again: it continues where it stopped. A run with
    --out - cannot be continued.

    INPUT may also be a job file that ends in .toml: the options in a file, and jobs with several steps.

    \b
    Examples:
      headrace run products.csv --out answers.jsonl --model deepseek-v3.2 \\
          --prompt "Ordne {name}: {description}" --choices Elektronik,Kleidung,Garten
      headrace run reviews.csv --out answers.jsonl --prompt-file prompt.j2 --system "You speak {language}."
      headrace run products.csv --out answers.jsonl --prompt "Describe {name}" --limit 20 --dry-run
      headrace run products.csv --out answers.jsonl --prompt "Describe {name}" --param temperature=0.3
      headrace run products.csv --out answers.jsonl --prompt "Sort {name}" --schema product.schema.json
      headrace run requests.jsonl --out answers.jsonl --max-in-flight 500 --budget 5.00
      headrace run texts.jsonl.gz --out answers.jsonl --prompt "Summarise: {text}"
      headrace run texts.parquet --out answers.parquet --prompt "Summarise: {text}"
      headrace run job.toml --max-in-flight 50

    \b
    Exit code: 0 all items succeeded, 1 some failed or an error stopped the run,
    2 a mistake in the command or its input, 130 interrupted.
    """
    import functools

    from headrace.bulk import raise_file_limit
    from headrace.bulk.run_preparation import prepare_run
    from headrace.cli.kept_command import kept_command
    from headrace.cli.option_names import with_options
    from headrace.cli.progress import ProgressDisplay
    from headrace.cli.summary_output import SummaryOutput
    from headrace.cli.terminal_run import accompany_with, perform, perform_with_engine, run_async
    from headrace.errors import HeadraceError, InputError, JournalError, SettingsError
    from headrace.pipeline.bulk_engines import Engine, ExecutorEngine, Job

    if sample is not None and not dry_run:
        raise SettingsError("--sample: needs --dry-run")
    if quiet and verbose:
        raise SettingsError("--quiet: leave out --verbose")
    if dry_run and (as_json or quiet):
        raise SettingsError("--dry-run: leave out --json and --quiet")
    display = ProgressDisplay(bar=sys.stderr.isatty() and not verbose and not quiet, quiet=quiet)
    target = OutputArguments.pop(others)
    if target.to_stdout and as_json:
        raise SettingsError("--out -: leave out --json; stdout has only the lines")
    output = SummaryOutput(as_json, quiet, to_stderr=target.to_stdout)
    cost = {} if budget is None else {"cost": {"budget": budget}}
    request, here = prompt_arguments(others), media_arguments(others) | sample_arguments(others)
    make_client = functools.partial(
        client_for, verbose, quiet, base_url=base_url, model=model, max_in_flight=max_in_flight, **cost
    )
    client = make_client(observers=[display])
    chosen, engine_values = run.chosen(engine, others)
    answer = None if schema is None else options.json_file("--schema", schema)
    arguments: dict[str, Any] = {
        **request,
        "choices": None if choices is None else choices.split(","),
        "id_column": id_column,
        "limit": limit,
    }
    job_file = job_of(click.get_current_context())
    steps = None if job_file is None else job_file.make_steps()
    if steps is not None and sample is not None:
        raise SettingsError("--sample: not for a job with steps; leave it out")
    if steps is not None and isinstance(chosen, Engine):
        raise SettingsError(f"--engine {engine}: has no jobs with steps; leave it out")
    if sample is not None and here["samples"] is not None:
        raise SettingsError("--sample: leave out --samples; an endpoint may need several requests for a row")
    executor_engine = chosen if isinstance(chosen, ExecutorEngine) else None
    if executor_engine is not None and processes != 1:
        raise SettingsError(f"--processes: leave it out; --engine {engine} works in one process")
    if isinstance(chosen, Engine):
        single = (
            dry_run,
            target.table is not None,
            target.only is not None,
            target.to_stdout,
            processes != 1,
            verbose,
            encoding is not None,
            fail_on is not None,
        )
        if any((*single, *here.values(), target.resend_changed, target.keep_done, target.fresh)):
            raise SettingsError(
                "--engine: leave out --dry-run, --out -, --table, --only ids and filter, --processes, "
                "--verbose, --encoding, --fail-on, --changed, --keep-done, --fresh, --samples, --vote, "
                "--image, --file, --audio and --max-pixels"
            )
        job = Job(
            input=input,
            out=target.out,
            model=client.settings.model,
            schema=answer,
            **arguments,
            make_client=make_client,
            max_in_flight=client.settings.max_in_flight,
            deadline=deadline,
            wait_for_endpoint=wait_for_endpoint,
            retry_failed=target.retry_failed,
            command=kept_command(client),
        )
        summary = chosen.run(job, engine_values)
        output.print(summary, target.out)
        sys.exit(exit_code(summary))
    if fail_on is not None:
        arguments["fail_on"] = fail_on
    try:
        prepared = prepare_run(
            input,
            target.out,
            client.settings.model,
            answer=answer,
            table=target.table,
            only=target.only,
            encoding=encoding,
            steps=steps,
            **arguments,
            **here,
        )
    except InputError as error:
        if job_file is None or not str(error).startswith("step"):
            raise
        raise job_file.mistake(error) from error
    if dry_run:
        from headrace.cli.dry_run import preview
        from headrace.cli.dry_run_sample import take_sample
        from headrace.cli.dry_run_steps import preview_steps

        if steps is not None:
            click.echo(preview_steps(client, prepared, executor_engine))
        elif sample is None:
            click.echo(preview(client, prepared, executor_engine))
        else:
            text = run_async(lambda: take_sample(client, prepared, sample))
            click.echo(with_options(text, click.get_current_context()))
        return
    engine = None if executor_engine is None else executor_engine.name
    with prepared.open_journal(
        command=kept_command(client), engine=engine, **target.journal_options
    ) as journal:
        bulk = prepared.begin(
            journal, wait_for_endpoint=wait_for_endpoint, deadline=deadline, notify=display.print_line
        )
        accompany = accompany_with(bulk, journal, client, display, engine)
        try:
            if executor_engine is not None:
                setup = prepared.engine_setup(client, journal, display.print_line, bulk.drawn)
                open_executor = functools.partial(executor_engine.open_executor, setup, engine_values)
                summary = run_async(
                    lambda: perform_with_engine(bulk, open_executor, client, display, accompany)
                )
            elif processes == 1:
                raise_file_limit(client.settings.max_in_flight)
                local = prepared.local_executor(client, journal)
                summary = run_async(lambda: perform(bulk, local, client, display, accompany))
            else:
                workers = prepared.process_executor(
                    make_client, journal, processes, client.settings.max_in_flight, display.on_event
                )
                summary = run_async(lambda: perform(bulk, workers, workers, display, accompany))
        except JournalError as error:  # calls were made: this is not a mistake in the command
            raise HeadraceError(str(error)) from error
        written = prepared.write_table()
    table = str(prepared.table.path) if prepared.table is not None and written else None
    output.print(summary, str(prepared.out or "stdout"), table)
    sys.exit(exit_code(summary))


class _Warnings(logging.Handler):
    """Prints log records to the current stderr, above the bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"headrace: {record.getMessage()}", err=True)


def client_for(verbose: bool, quiet: bool, **keywords: Any) -> Client:
    """Make the client of one process, and set up its log."""
    from headrace.client import Client

    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    elif quiet:
        logging.getLogger("headrace").setLevel(logging.ERROR)
    else:
        for name in _SHOWN_LOGGERS:
            logger = logging.getLogger(name)
            if not logger.handlers:
                logger.addHandler(_Warnings(logging.WARNING))
    return Client(**keywords)


def exit_code(summary: Summary) -> int:
    """The exit code of the command; see its help."""
    from headrace.errors import InputError, RunDetached

    if summary.stopped_by == "interrupt" and summary.left:
        return INTERRUPTED
    if isinstance(summary.stopped_by, RunDetached):
        return INTERRUPTED if summary.stopped_by.interrupted else 0
    some_failed = summary.left or summary.failed or summary.failed_before or not summary.counted
    return SOME_FAILED if some_failed or isinstance(summary.stopped_by, InputError) else 0
