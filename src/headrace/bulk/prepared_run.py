"""A bulk run from its arguments: `headrace.bulk.run` and the command line both start here."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.chosen_items import ChosenIds, ChosenItems, Only
from headrace.bulk.engine_setup import EngineSetup
from headrace.bulk.executor import LocalExecutor, carry_over
from headrace.bulk.input_check import FIRST_PART, InputCheck
from headrace.bulk.journal import Journal
from headrace.bulk.memory_journal import MemoryJournal
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.prompts import PromptLike
from headrace.bulk.result import Result
from headrace.bulk.run_lock import set_aside
from headrace.bulk.run_output import STDOUT, lines_path, table_of
from headrace.bulk.sources import IdFunction, RowsLike, RowSource, Source, as_input
from headrace.bulk.stdout_lines import StdoutLines
from headrace.bulk.tables import Table, is_table
from headrace.bulk.task import Task
from headrace.client import Client
from headrace.errors import InputError, SettingsError


@attrs.frozen(kw_only=True)
class PreparedRun:
    """A run with a checked prompt and table, and a check of its input that has begun; nothing was sent.

    Nothing was written either. ``out`` is the file of the lines; None for stdout.
    """

    task: Task
    check: InputCheck
    source: Source | RowSource
    out: Path | None
    to_stdout: bool
    table: Table | None

    @contextmanager
    def open_journal(
        self,
        *,
        retry_failed: bool = False,
        resend_changed: bool = False,
        keep_done: bool = False,
        fresh: bool = False,
        command: str | None = None,
    ) -> Iterator[Journal | MemoryJournal | StdoutLines]:
        """The journal, compared with the input; see `headrace.bulk.run` for the arguments.

        ``command`` is the command that begins the run, without secrets. A run to stdout has no journal.

        Raises:
            InputError: The row of a done item has changed, or an argument needs a journal.
            JournalError: It belongs to another run, is in use, is damaged, or cannot be written.
        """
        if self.out is None:
            needing = {
                'retry_failed= (only="failed")': retry_failed,
                "changed=": resend_changed,
                "keep_done=": keep_done,
                "fresh=": fresh,
            }
            if unfit := ", ".join(name for name, given in needing.items() if given):
                if self.to_stdout:
                    raise InputError(f"out=-: leave out {unfit}; stdout cannot be read again")
                raise InputError(f"out=: a run without an output cannot be resumed; name a file for {unfit}")
            yield StdoutLines() if self.to_stdout else MemoryJournal()
            return
        if fresh:
            set_aside(self.out)
        fingerprint = self.task.fingerprint()
        with Journal(self.out, fingerprint, keep_done=keep_done, command=command) as journal:
            if retry_failed and journal.failed:
                self.check.finish()
                everything = not self.check.reads_ahead
                journal.remove(lambda id: journal.has_failed(id) and (everything or id in self.check))
            if resend_changed and journal.done:
                if not self.check.reads_ahead:
                    raise InputError(
                        'changed="resend": needs rows that can be read twice, like a list or a file'
                    )
                items = self.task.source.items()
                changed = {item.id for item in items if self.check.has_changed(item, journal)}
                journal.remove(changed.__contains__)
            self.check.compare(journal)
            yield journal

    def begin(self, journal: Journal | MemoryJournal | StdoutLines, **options: Any) -> BulkRun:
        """A session over the checked input; ``options`` are those of `BulkRun`."""
        return BulkRun(self.task, journal, self.check, **options)

    def result(self, journal: Journal | MemoryJournal | StdoutLines) -> Result:
        """The result of the session, with totals of zero. That of a run to stdout has no answers."""
        output: Path | io.BytesIO = io.BytesIO()
        if isinstance(journal, Journal):
            output = journal.path
        elif isinstance(journal, MemoryJournal):
            output = journal.content
        return Result(0, source=self.source, output=output)

    def local_executor(
        self,
        client: Client,
        journal: Journal | MemoryJournal | StdoutLines,
        max_in_flight: int | None = None,
    ) -> LocalExecutor:
        """An executor over one client, which must be open when the run is performed."""
        carry_over(client, journal.spent)
        return LocalExecutor(client, self.task.choices, max_in_flight, self.task.fail_on)

    def engine_setup(
        self,
        client: Client,
        journal: Journal | MemoryJournal | StdoutLines,
        notify: Callable[[str], None],
    ) -> EngineSetup:
        """What an engine needs to make the calls of this run; the client may be opened later.

        Raises:
            SettingsError: The run has no output file.
        """
        if not isinstance(journal, Journal):
            raise SettingsError("engine=: needs a file as out=, by which the run can be continued")
        carry_over(client, journal.spent)
        return EngineSetup(
            client=client,
            out=journal.path,
            run_id=journal.run_id,
            choices=self.task.choices,
            answer=self.task.answer,
            fail_on=self.task.fail_on,
            spent=journal.spent,
            is_done=lambda id: journal.digest_of(id) is not None,
            sync=journal.sync,
            notify=notify,
        )

    def process_executor(
        self,
        make_client: Callable[[], Client],
        journal: Journal | MemoryJournal | StdoutLines,
        processes: int,
        max_in_flight: int,
        on_event: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
    ) -> ProcessExecutor:
        """An executor over worker processes; see `ProcessExecutor`."""
        task = self.task
        return ProcessExecutor(
            make_client,
            processes,
            max_in_flight,
            task.choices,
            task.answer,
            on_event,
            journal.spent,
            task.fail_on,
        )

    def write_table(self) -> bool:
        """Write the table if there is one, unless the input was changed: its rows could be other ones.

        Returns:
            Whether it was written.

        Raises:
            InputError: It cannot be written.
        """
        if self.table is None:
            return False
        try:
            self.table.source.check_unchanged()
        except InputError:
            return False
        self.table.write()
        return True

    @asynccontextmanager
    async def table_at_end(self) -> AsyncIterator[None]:
        """Write the table when the block ends, and also when it is cancelled or interrupted."""
        try:
            yield
        except Exception:  # the output may be the cause
            raise
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(InputError):
                await anyio.to_thread.run_sync(self.write_table)
            raise
        await anyio.to_thread.run_sync(self.write_table)


def prepare_run(
    source: RowsLike,
    out: str | os.PathLike[str] | None,
    model: str | None,
    *,
    prompt: PromptLike | None = None,
    encoding: str | None = None,
    id_column: str | IdFunction | None = None,
    limit: int | None = None,
    table: str | os.PathLike[str] | None = None,
    only: Only | None = None,
    **arguments: Any,
) -> PreparedRun:
    """Check the arguments of a run and the beginning of its input.

    Args:
        source: See `headrace.bulk.run`, also for the following.
        out: The output.
        model: The model.
        prompt: The prompt.
        encoding: The encoding of text.
        id_column: The column of the ids.
        limit: How many items.
        table: The table.
        only: Which items; "failed" means nothing here, see `PreparedRun.open_journal`.
        **arguments: The other arguments of a `Task`; None for the default of one.

    Raises:
        InputError: The input, the prompt, the ids or the table is not valid.
        JournalError: The output is not a file that can be written.
    """
    path, ids = None if out is None else lines_path(out), ChosenIds.of(only)
    items = as_input(source, id_column, limit, encoding)
    checked_table = _checked_table(out, path, table, items)
    task = Task(
        items if ids is None else ChosenItems(items, ids),
        prompt,
        model,
        **{name: value for name, value in arguments.items() if value is not None},
    )
    check = InputCheck(task)
    check.advance(FIRST_PART)
    return PreparedRun(
        task=task,
        check=check,
        source=items,
        out=path,
        to_stdout=out is not None and os.fspath(out) == STDOUT,
        table=checked_table,
    )


def _checked_table(
    out: str | os.PathLike[str] | None,
    lines: Path | None,
    table: str | os.PathLike[str] | None,
    source: Source | RowSource,
) -> Table | None:
    """The table of a run; see `table_of`."""
    if out is not None and isinstance(source, Source):
        return table_of(out, lines, table, source)
    if table is not None or (out is not None and is_table(Path(out))):
        name = "table=" if table is not None else f"out={out}"
        raise InputError(
            f"{name}: a table is for an input file and an output; for rows, use the result's to_pandas()"
        )
    return None
