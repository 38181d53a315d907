"""A bulk run from its arguments: `headrace.bulk.run` and the command line both start here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from headrace.bulk.chosen_items import ChosenIds, ChosenItems, Only
from headrace.bulk.executor import LocalExecutor, carry_over
from headrace.bulk.input_check import FIRST_PART, InputCheck
from headrace.bulk.journal import Journal
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.prompts import PromptLike
from headrace.bulk.run_lock import set_aside
from headrace.bulk.run_output import lines_path, table_of
from headrace.bulk.sources import Source
from headrace.bulk.stdout_lines import StdoutLines
from headrace.bulk.tables import Table
from headrace.bulk.task import Task
from headrace.client import Client
from headrace.errors import InputError


@attrs.frozen(kw_only=True)
class PreparedRun:
    """A run with a checked prompt and table, and a check of its input that has begun; nothing was sent.

    Nothing was written either. ``out`` is the file of the lines; None for stdout.
    """

    task: Task
    check: InputCheck
    out: Path | None
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
    ) -> Iterator[Journal | StdoutLines]:
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
            if unfit := [name for name, given in needing.items() if given]:
                raise InputError(f"out=-: leave out {', '.join(unfit)}; stdout cannot be read again")
            yield StdoutLines()
            return
        if fresh:
            set_aside(self.out)
        fingerprint = self.task.fingerprint()
        with Journal(self.out, fingerprint, keep_done=keep_done, command=command) as journal:
            if retry_failed and journal.failed:
                self.check.finish()
                journal.remove(lambda id: journal.has_failed(id) and id in self.check)
            if resend_changed and journal.done:
                items = self.task.source.items()
                changed = {item.id for item in items if self.check.has_changed(item, journal)}
                journal.remove(changed.__contains__)
            self.check.compare(journal)
            yield journal

    def local_executor(
        self, client: Client, journal: Journal | StdoutLines, max_in_flight: int | None = None
    ) -> LocalExecutor:
        """An executor over one client, which must be open when the run is performed."""
        carry_over(client, journal.spent)
        return LocalExecutor(client, self.task.choices, max_in_flight, self.task.fail_on)

    def process_executor(
        self,
        make_client: Callable[[], Client],
        journal: Journal | StdoutLines,
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
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None,
    *,
    prompt: PromptLike | None = None,
    encoding: str | None = None,
    id_column: str | None = None,
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
    path, ids = lines_path(out), ChosenIds.of(only)
    items = Source(source, id_column, limit, encoding)
    checked_table = table_of(out, path, table, items)
    task = Task(
        items if ids is None else ChosenItems(items, ids),
        prompt,
        model,
        **{name: value for name, value in arguments.items() if value is not None},
    )
    check = InputCheck(task)
    check.advance(FIRST_PART)
    return PreparedRun(task=task, check=check, out=path, table=checked_table)
