"""Opens and closes a session of a run: its ledger, and what earlier sessions have left."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing

from headrace.bulk import EngineSetup, Executor
from headrace_batch.adoption import adopt
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.engine import batch_folder
from headrace_batch.executor import BatchExecutor
from headrace_batch.ledger import Ledger
from headrace_batch.observed_run import left_by_fresh
from headrace_batch.one_error import one_error
from headrace_batch.options import BatchOptions
from headrace_batch.part_builder import remove_settled, remove_unplanned
from headrace_batch.pricing import PartMoney, batch_prices
from headrace_batch.recovery import adopt_from_all, open_rows
from headrace_batch.row_file import RowFile
from headrace_batch.session import BatchSession


@asynccontextmanager
async def open_executor(setup: EngineSetup, options: BatchOptions) -> AsyncIterator[Executor]:
    """Open a session of a run.

    Raises:
        JournalError: The ledger is damaged, or a file cannot be written.
    """
    folder = batch_folder(setup.out, setup.run_id)
    with ExitStack() as stack:
        async with one_error(folder):
            ledger = stack.enter_context(closing(Ledger(folder, setup.run_id)))
            stack.callback(lambda: remove_settled(folder, ledger.parts))
            stack.callback(lambda: setup.note_calls(ledger.has_batches))
            session = await _open_session(setup, options, ledger, stack)
        yield BatchExecutor(session)


async def _open_session(
    setup: EngineSetup, options: BatchOptions, ledger: Ledger, stack: ExitStack
) -> BatchSession:
    endpoints = PartEndpoints(setup)
    remove_unplanned(ledger.folder, ledger.parts)
    if ledger.is_new or ledger.is_copy:
        adopted = await adopt_from_all(setup.run_id, ledger, endpoints.all())
        if adopted:
            setup.notify(f"{adopted:,} batches of this run are at the endpoint; they go on.")
        await ledger.begin()
    if ledger.is_new:
        for kept, number in left_by_fresh(setup.out).items():
            setup.notify(
                f"{number:,} of the batches of {kept} may go on at the endpoint. To cancel them: "
                f"headrace batch cancel {shlex.quote(str(kept))}"
            )
    money = PartMoney(batch_prices(setup.client), counts_tokens=options.max_tokens is not None)
    await adopt(options.adopt, setup, ledger, endpoints.all(), money)
    of_parts, waiting = (stack.enter_context(closing(RowFile(ledger.folder))) for _ in range(2))
    rows = await open_rows(ledger, endpoints, setup, of_parts, waiting)
    end = options.finish_at(datetime.datetime.now())
    end = None if end is None else await ledger.finish_at(end)
    return BatchSession(setup, options, ledger, endpoints, money, rows, waiting, end)
