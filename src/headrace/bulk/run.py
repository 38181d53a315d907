"""`headrace.run`: runs a prompt over rows, from Python."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Literal

from anyio import to_thread

from headrace.bulk.bulk_run import WAIT_FOR_ENDPOINT
from headrace.bulk.chosen_engine import executor_engine
from headrace.bulk.chosen_items import Only
from headrace.bulk.control.bulk_run_control import BulkRunControl
from headrace.bulk.embedding import arguments_of_task, prepare_embedding
from headrace.bulk.executor import Executor
from headrace.bulk.fail_on import DEFAULT_FAIL_ON, FailOn
from headrace.bulk.progress import ClientEvents, Progress, display_for
from headrace.bulk.prompts import PromptLike, TemplateLanguage
from headrace.bulk.prompts.examples import ExamplesLike
from headrace.bulk.prompts.media_columns import ColumnNames
from headrace.bulk.run_arguments import check_arguments
from headrace.bulk.run_handle import Run, Session
from headrace.bulk.run_preparation import prepare_run
from headrace.bulk.sources import IdFunction, RowsLike
from headrace.bulk.sources.urls import is_url
from headrace.bulk.steps import Step
from headrace.bulk.task import OnMissing
from headrace.client import Client
from headrace.errors import SettingsError
from headrace.pipeline.bulk_engines import ExecutorEngine

_log = logging.getLogger("headrace")


def run(
    client: Client | Callable[[], Client],
    rows: RowsLike,
    *,
    out: str | os.PathLike[str] | None = None,
    prompt: PromptLike | None = None,
    choices: Iterable[str] | None = None,
    answer: Any = None,
    fail_on: FailOn = DEFAULT_FAIL_ON,
    id_column: str | IdFunction | None = None,
    encoding: str | None = None,
    system: str | os.PathLike[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    template: TemplateLanguage | None = None,
    messages: str | None = None,
    examples: ExamplesLike | None = None,
    model_column: str | None = None,
    tags: Mapping[str, str] | None = None,
    priority: int | str = 0,
    extra_body: Mapping[str, Any] | None = None,
    image: ColumnNames | None = None,
    file: ColumnNames | None = None,
    audio: ColumnNames | None = None,
    max_pixels: int | None = None,
    on_missing: OnMissing = "refuse",
    limit: int | None = None,
    wait_for_endpoint: float = WAIT_FOR_ENDPOINT,
    deadline: float | None = None,
    max_in_flight: int | None = None,
    retry_failed: bool = False,
    changed: Literal["refuse", "resend"] = "refuse",
    keep_done: bool = False,
    fresh: bool = False,
    processes: int = 1,
    engine: str | ExecutorEngine | None = None,
    table: str | os.PathLike[str] | None = None,
    only: Only | None = None,
    steps: Sequence[Step] | None = None,
    samples: int | None = None,
    vote: bool = False,
    progress: Progress = None,
    task: Literal["chat", "embed"] = "chat",
    column: str | None = None,
    dimensions: int | None = None,
    batch_size: int | None = None,
) -> Run:
    """Run a prompt over rows, or embed their texts, as ``headrace run`` and ``headrace embed`` do.

    Await the run for its `Result`, or enter it to follow it; see `Run`. Nothing is read before that.

    Outcomes are appended to ``out`` in OpenAI's batch output format. Another call with the same arguments
    continues where the last one stopped. Rows are matched by their ids: rows that were added to the input are
    sent, and the lines of rows that were removed stay.

    The run waits while the endpoint's circuit is open. It stops after ``wait_for_endpoint`` seconds without a
    success, at the deadline, at a change of the input, and at an error that all later calls share, like a
    rejected key or no credit left. The reason is ``stopped_by`` of the summary, and the next call sends the
    rest.

    Args:
        client: An open client, or a callable that makes one, which is opened and closed here. Its model is
            used.
        rows: The path of a file: CSV, JSONL, a JSON array, Parquet, Arrow, Excel or OpenAI's batch format,
            see `Source`. Or the URL of such a file: ``https://``, ``s3://``, ``gs://``, ``hf://`` or another
            protocol of fsspec; needs ``pip install 'headrace[remote]'``. Or rows of Python code: a pandas or
            Polars data frame, a pyarrow table, a data set, an iterable or an async iterable of mappings or of
            objects with fields; see `RowSource`.
        out: The output file, which is also the journal. If it ends in ``.csv`` or ``.parquet``, it is a
            table, as with ``table``, and the journal is beside it: ``OUT.jsonl``. "-" is stdout; such a run
            has no journal, and cannot be continued. None keeps the outcomes in memory, and nothing on disk.
        prompt: A template over the columns of the input, like ``"Sort {name}"``; a `pathlib.Path` of a file
            with one; or a function that gets the row and returns the prompt, or a list of messages. None for
            ``messages`` alone and for the batch format.
        choices: The allowed answers; None for any.
        answer: The type of each answer, as with `Client.chat`; not together with ``choices``.
        fail_on: Which answers fail because of the way they ended: "length" (cut off at the output limit),
            "content_filter" and "refusal", as a list or as one text with commas. "none" keeps all. By default
            the last two fail. An answer that does not fit ``choices`` or ``answer`` fails in any case.
        id_column: The column of the ids, or for rows of Python code a function that makes the id of a row;
            None for ``custom_id`` or ``id``. Without such a column, ids are made of the rows' contents.
        encoding: The encoding of text input, like "cp1252"; None for UTF-8, or for what its byte order mark
            says.
        system: A system message for each prompt: a template, or a `pathlib.Path` of a file with one.
        parameters: Parameters of the API for each request, like ``{"temperature": 0}``. ``"@name"`` is the
            value of the column ``name``; an empty cell sets nothing. ``"@@"`` at the beginning is one @.
        template: The language of the templates, "braces" or "jinja"; None for Jinja in files that end in
            ``.j2``, else braces.
        messages: The column with a conversation in each row: a list of messages, or its JSON. A prompt
            follows it as the last message.
        examples: Examples for the model: a file, or rows, with the columns of the prompt and ``answer``. Each
            becomes two messages before the prompt.
        model_column: The column of the models; for an empty cell, the client's model is used.
        tags: Tags of each request, see `Request`; ``"@name"`` as in ``parameters``.
        priority: The priority of each request, see `Request`; an integer, or ``"@name"``.
        extra_body: Members of each request's body that only your endpoint has.
        image: The column of images, or a list of columns. Each image is a part of the prompt's message, after
            the text. A value is a path, relative to the working directory; an http or https URL; a data URI;
            bytes of a Parquet or Arrow file; or a list of these. An empty cell adds nothing. A file is read
            when the call begins, and an error of it fails that item; see `headrace.image`.
        file: The column of files, or a list of columns, like ``image`` but without URLs; see `headrace.file`.
        audio: The column of recordings, or a list of columns, like ``file``; see `headrace.audio`.
        max_pixels: Scale larger images down to this many pixels (width × height); None for no limit. Images
            behind a URL are not scaled. Needs ``pip install 'headrace[images]'``.
        on_missing: What happens if a row lacks a column: "refuse" raises an `InputError` before anything is
            sent; with "fail-row" that item fails without a call, and the others are sent.
        limit: Send only the first items; None for all.
        wait_for_endpoint: Seconds to wait for the endpoint without a success.
        deadline: Seconds for this session; None for no deadline.
        max_in_flight: Maximum number of calls at once; None for the client's limit.
        retry_failed: Whether items that failed before are sent again.
        changed: What to do if the row of a done item has changed: "refuse" raises `InputError`, "resend"
            removes its line and sends the row again.
        keep_done: Whether a run with another prompt, model or other parameters continues this output. What is
            done stays; the rest is sent with the new ones.
        fresh: Whether to begin a new output. An existing one is kept as ``OUT.1``, or the next free number.
            Not together with ``keep_done``, ``retry_failed`` and ``changed="resend"``.
        processes: The number of processes that make the calls. With more than 1, ``client`` must be a
            picklable callable, like ``functools.partial(headrace.Client, model="…")``. They share
            ``max_in_flight`` and the budget.
        engine: The engine that makes the calls, or its name, like "batch"; None for ordinary calls. It needs
            an output and one process. If a session has left calls at the endpoint, later ones need its
            engine, so that they are not paid twice.
        table: Write the finished items as a table when the session ends, to a path that ends in ``.csv`` or
            ``.parquet``; see `write_table`. It is written also if this call is cancelled.
        only: Which items are sent: "failed" is the same as ``retry_failed``. The `pathlib.Path` of a file
            with one id per line, or a list of ids, chooses these items; those that are done stay done, and
            all others are neither sent nor counted. ``"filter:price > 10"`` chooses the rows for which the
            condition is true. The whole input is read before anything is sent.
        progress: How the progress is shown. A function is called with a copy of the totals, at most ten times
            a second and once at the end; an exception of it cancels the calls in flight and ends the run,
            and what is done stays in the output. "auto" shows a live view in a notebook, a bar on stderr
            at a terminal if rich is installed, else a line on stderr every five seconds. None shows nothing.
        steps: The steps of a job, each a `Step` with its own prompt, in place of ``prompt`` and the other
            arguments that make a request. A row gets one line, with the answers of all its steps. Each answer
            is also kept in ``OUT.steps`` before the next step begins, so no step is paid twice.
        samples: How many answers each row gets, at most 128; None for one. All are kept, as ``answers`` of an
            outcome, and as columns ``answer_1``, ``answer_2``, … of a table. A request asks for all of them
            with the parameter ``n``. If the endpoint gives fewer, further calls bring the rest. A row
            succeeds if one of its answers can be read.
        vote: Whether the answer of a row is the most frequent one of its samples, of equal ones the earliest
            given. Needs ``choices``.
        task: "chat" sends a prompt for each row. "embed" embeds the texts of a column, many in one request;
            ``out`` and ``table`` may then end in ``.parquet`` or ``.npy``, and the arguments of prompts,
            answers, media and processes do not apply.
        column: The column of the texts to embed, or a key like ``a.b``.
        dimensions: The length of the vectors; None for that of the model.
        batch_size: The most texts in a request; None for 256. A request has at most 300,000 bytes of text
            in any case.

    Returns:
        The run, not begun. Awaiting it returns a `Result`.

    Raises:
        InputError: The input, the prompt, the ids or the table is not valid; nothing was sent.
        JournalError: The output belongs to another run, is in use, cannot be written, or was deleted, moved
            or changed by another program during the run.
        BrokenPipeError: ``out`` is "-", and the program that reads stdout has ended.
        SettingsError: A setting is not valid; nothing was sent.

    Example:
        ```python
        result = await headrace.run(client, frame, out="answers.jsonl", prompt="Category of {name}?")
        frame = result.to_pandas()
        ```
    """
    check_arguments(
        client=client,
        **{"out": out, "table": table, "id_column": id_column, "limit": limit, "changed": changed},
        **{"messages": messages, "model_column": model_column, "parameters": parameters},
        **{"tags": tags, "extra_body": extra_body, "max_in_flight": max_in_flight, "processes": processes},
        **{"deadline": deadline, "wait_for_endpoint": wait_for_endpoint},
    )
    task_arguments = {
        "prompt": prompt,
        "choices": choices,
        "answer": answer,
        "fail_on": fail_on,
        "id_column": id_column,
        "encoding": encoding,
        "system": system,
        "parameters": parameters,
        "template": template,
        "messages": messages,
        "examples": examples,
        "model_column": model_column,
        "tags": tags,
        "priority": priority,
        "extra_body": extra_body,
        "image": image,
        "file": file,
        "audio": audio,
        "max_pixels": max_pixels,
        "on_missing": on_missing,
        "limit": limit,
        "table": table,
        "only": only,
        "column": column,
        "dimensions": dimensions,
        "batch_size": batch_size,
        "steps": steps,
        "samples": samples,
        "vote": vote,
    }
    journal_options: dict[str, Any] = {
        "retry_failed": retry_failed or (isinstance(only, str) and only == "failed"),
        "resend_changed": changed == "resend",
        "keep_done": keep_done,
        "fresh": fresh,
    }

    @asynccontextmanager
    async def open_session() -> AsyncIterator[Session]:
        display, events = display_for(progress), None
        opened, make_client = _client_of(client, processes)
        chosen = None if engine is None else executor_engine(engine)
        if chosen is not None and processes != 1:
            raise SettingsError(f"processes={processes}: leave it out; engine= works in one process")
        if make_client is not None:
            events = ClientEvents()
            opened.observe(events)
        of_task = arguments_of_task(task, task_arguments, run)
        make = prepare_embedding if task == "embed" else prepare_run
        prepare = partial(make, rows, out, opened.settings.model, **of_task)
        if isinstance(rows, str) and is_url(rows):  # the event loop must not wait for its download
            prepared = await to_thread.run_sync(prepare, abandon_on_cancel=True)
            if journal_options["retry_failed"] or journal_options["resend_changed"]:
                await to_thread.run_sync(prepared.check.finish, abandon_on_cancel=True)
        else:
            prepared = prepare()
        name = None if chosen is None else chosen.name
        with prepared.open_journal(**journal_options, engine=name) as journal:
            result = prepared.result(journal)
            bulk = prepared.begin(
                journal, wait_for_endpoint=wait_for_endpoint, deadline=deadline, summary=result
            )

            def session(executor: Executor) -> Session:
                control = BulkRunControl(
                    bulk,
                    executor,
                    journal,
                    policies=opened.policies,
                    events=events,
                    engine=None if chosen is None else str(chosen.name),
                )
                return Session(bulk, executor, result, control, display)

            async with prepared.table_at_end():
                if chosen is not None:
                    setup = prepared.engine_setup(opened, journal, _log.info, bulk.drawn)
                    async with (
                        nullcontext() if make_client is None else opened,
                        chosen.open_executor(setup, {}) as engine_executor,
                    ):
                        yield session(engine_executor)
                elif make_client is not None and processes != 1:
                    most = max_in_flight or opened.settings.max_in_flight
                    watched = {} if events is None else {"on_event": events.on_event}
                    async with prepared.process_executor(
                        make_client, journal, processes, most, **watched
                    ) as executor:
                        yield session(executor)
                else:
                    local = prepared.local_executor(opened, journal, max_in_flight)
                    if make_client is not None and max_in_flight is not None:
                        opened.limiter.total_tokens = max_in_flight
                    async with nullcontext() if make_client is None else opened:
                        yield session(local)

    return Run(open_session)


def _client_of(
    client: Client | Callable[[], Client], processes: int
) -> tuple[Client, Callable[[], Client] | None]:
    """The client, and what made it; None if the caller has opened it."""
    if not isinstance(client, Client):
        return client(), client
    if processes != 1:
        raise SettingsError(
            f"processes={processes}: needs a callable that makes a client, like "
            "functools.partial(headrace.Client, …), because each process has its own client"
        )
    return client, None
