"""A run whose arguments were checked: opens its journal, begins its session, and writes its table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.engine_setup import EngineSetup
from headrace.bulk.executor import Executor, LocalExecutor, carry_over
from headrace.bulk.input_check import InputCheck
from headrace.bulk.journal import Journal
from headrace.bulk.memory_journal import MemoryJournal
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.result import Result
from headrace.bulk.run_lock import set_aside
from headrace.bulk.run_task import CallTask
from headrace.bulk.samples import SampleCalls
from headrace.bulk.sources import RowSource, Source
from headrace.bulk.stdout_lines import StdoutLines
from headrace.bulk.steps import StepCalls, StepsInMemory, StepsJournal, StepStore, StepTask
from headrace.bulk.tables import Table
from headrace.bulk.task import Task
from headrace.client import Client
from headrace.errors import InputError, SettingsError


@attrs.frozen(kw_only=True)
class PreparedRun:
    """A run with a checked prompt and table, and a check of its input that has begun; nothing was sent.

    Nothing was written either. ``out`` is the file of the lines; None for stdout.
    """

    task: CallTask | StepTask
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
        engine: str | None = None,
    ) -> Iterator[Journal | MemoryJournal | StdoutLines]:
        """The journal, compared with the input; see `headrace.bulk.run` for the arguments.

        ``command`` is the command that begins the run, without secrets. ``engine`` is the name of the
        session's engine. A run to stdout has no journal.

        Raises:
            InputError: The row of a done item has changed, an argument needs a journal, or the arguments do
                not fit together.
            JournalError: It belongs to another run, is in use, is damaged, or cannot be written.
        """
        of_done_items = {
            'retry_failed= (only="failed")': retry_failed,
            "changed=": resend_changed,
            "keep_done=": keep_done,
        }
        if self.out is None:
            needing = {**of_done_items, "fresh=": fresh}
            if unfit := ", ".join(name for name, given in needing.items() if given):
                if self.to_stdout:
                    raise InputError(f"out=-: leave out {unfit}; stdout cannot be read again")
                raise InputError(f"out=: a run without an output cannot be resumed; name a file for {unfit}")
            yield StdoutLines() if self.to_stdout else MemoryJournal()
            return
        if fresh:
            if unfit := ", ".join(name for name, given in of_done_items.items() if given):
                raise InputError(f"fresh=: begins a new output; leave out {unfit}, or fresh=")
            set_aside(self.out)
        fingerprint = self.task.fingerprint()
        with Journal(self.out, fingerprint, keep_done=keep_done, command=command, engine=engine) as journal:
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
            if not isinstance(self.task, StepTask) and self._samples is None:
                yield journal
                return
            with StepsJournal(self.out, journal.sidecar) as steps:
                journal.steps = steps
                journal.spent += steps.spent
                yield journal

    @property
    def _samples(self) -> int | None:
        """The number of answers for each row; None for one answer, or several of a job with steps."""
        return self.task.samples if isinstance(self.task, Task) else None

    @property
    def _tasks(self) -> Sequence[CallTask]:
        """The task of each step; one of a run without steps."""
        return [step.task for step in self.task.steps] if isinstance(self.task, StepTask) else [self.task]

    def begin(self, journal: Journal | MemoryJournal | StdoutLines, **options: Any) -> BulkRun:
        """A session over the checked input; ``options`` are those of `BulkRun`."""
        steps: StepStore | None = StepsInMemory() if isinstance(journal, MemoryJournal) else None
        if isinstance(journal, Journal):
            steps = journal.steps
        if isinstance(self.task, Task) and self.task.samples is not None:
            samples = SampleCalls(self.task, self.task.samples, journal, steps)
            bulk = BulkRun(self.task, journal, self.check, calls=samples, **options)
            bulk.summary.samples = samples.counts
            return bulk
        if not isinstance(self.task, StepTask):
            return BulkRun(self.task, journal, self.check, **options)
        calls = StepCalls(self.task, journal, steps)
        bulk = BulkRun(self.task, journal, self.check, calls=calls, **options)
        bulk.summary.steps = calls.counts
        return bulk

    def result(self, journal: Journal | MemoryJournal | StdoutLines) -> Result:
        """The result of the session, with totals of zero. That of a run to stdout has no answers."""
        output: Path | MemoryJournal = MemoryJournal()
        if isinstance(journal, Journal):
            output = journal.path
        elif isinstance(journal, MemoryJournal):
            output = journal
        return Result(0, source=self.source, output=output)

    def local_executor(
        self,
        client: Client,
        journal: Journal | MemoryJournal | StdoutLines,
        max_in_flight: int | None = None,
    ) -> Executor:
        """An executor over one client, which must be open when the run is performed."""
        carry_over(client, journal.spent)
        task = self.task
        if not isinstance(task, StepTask):
            return LocalExecutor(client, task.choices, max_in_flight, task.fail_on)
        choices = [step.task.choices for step in task.steps]
        return LocalExecutor(client, (), max_in_flight, task.fail_on, choices)

    def engine_setup(
        self,
        client: Client,
        journal: Journal | MemoryJournal | StdoutLines,
        notify: Callable[[str], None],
        drawn: DrawnItems,
    ) -> EngineSetup:
        """What an engine needs to make the calls of this run; the client may be opened later.

        Raises:
            SettingsError: The run has no output file.
        """
        task, tasks = self.task, self._tasks
        if not isinstance(journal, Journal):
            raise SettingsError("engine=: needs a file as out=, by which the run can be continued")
        carry_over(client, journal.spent)
        steps = journal.steps

        async def sync() -> None:
            if steps is not None:
                await steps.sync()
            await journal.sync()

        return EngineSetup(
            client=client,
            out=journal.path,
            run_id=journal.run_id,
            choices=[each.choices for each in tasks],
            answers=[each.answer for each in tasks],
            fail_on=task.fail_on,
            spent=journal.spent,
            calls="steps" if isinstance(task, StepTask) else "single" if self._samples is None else "samples",
            is_done=lambda id: journal.digest_of(id) is not None,
            sync=sync,
            note_calls=journal.note_calls,
            notify=notify,
            drawn=drawn,
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
            on_event=on_event,
            spent=journal.spent,
            fail_on=task.fail_on,
            steps=[(each.choices, each.answer) for each in self._tasks],
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
