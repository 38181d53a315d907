"""A bulk run from its arguments: `headrace.bulk.run` and the command line both start here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from headrace.bulk.executor import LocalExecutor, carry_over
from headrace.bulk.journal import Journal
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.sources import Source
from headrace.bulk.tables import Table
from headrace.bulk.task import Task
from headrace.bulk.template import Template
from headrace.client import Client
from headrace.errors import InputError


@attrs.frozen(kw_only=True)
class PreparedRun:
    """A run with a checked input, prompt and table; nothing was sent or written.

    ``total`` is the number of items.
    """

    task: Task
    total: int
    out: Path
    limited: bool
    table: Table | None

    @contextmanager
    def open_journal(self, *, retry_failed: bool = False) -> Iterator[Journal]:
        """The journal; ``retry_failed`` removes the lines of failed items, so that they are sent again.

        Raises:
            JournalError: It belongs to another run, is in use, is damaged, or cannot be written.
        """
        with Journal(self.out, self.task.fingerprint(), self.total, self.limited) as journal:
            if retry_failed:
                journal.drop_failed()
            yield journal

    def local_executor(
        self, client: Client, journal: Journal, max_in_flight: int | None = None
    ) -> LocalExecutor:
        """An executor over one client, which must be open when the run is performed."""
        carry_over(client, journal.spent)
        return LocalExecutor(client, self.task.choices, max_in_flight)

    def process_executor(
        self,
        make_client: Callable[[], Client],
        journal: Journal,
        processes: int,
        max_in_flight: int,
        on_event: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
    ) -> ProcessExecutor:
        """An executor over worker processes; see `ProcessExecutor`."""
        task = self.task
        return ProcessExecutor(
            make_client, processes, max_in_flight, task.choices, task.answer, on_event, journal.spent
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


def prepare_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None,
    *,
    answer: Any = None,
    choices: Iterable[str] | None = None,
    encoding: str | None = None,
    id_column: str | None = None,
    limit: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    table: str | os.PathLike[str] | None = None,
) -> PreparedRun:
    """Check the arguments of a run and read its input once; see `headrace.bulk.run` for the arguments.

    Raises:
        InputError: The input, the prompt or the table is not valid.
    """
    items = Source(source, id_column, limit, encoding)
    checked_table = None if table is None else Table(table, items, out)
    template = None if prompt is None else Template(prompt)
    task = Task(items, template, model, choices, system, parameters or {}, answer)
    return PreparedRun(
        task=task, total=task.check(), out=Path(out), limited=limit is not None, table=checked_table
    )
