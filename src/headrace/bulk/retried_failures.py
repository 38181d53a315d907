"""Sends the failed items of a run again while it goes on: removes their lines."""

from __future__ import annotations

import anyio
import anyio.to_thread

from headrace.bulk.input_check import InputCheck
from headrace.bulk.journal import Journal
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import RowCalls
from headrace.bulk.summary import Summary
from headrace.errors import ControlRefused, JournalError


def failed_so_far(summary: Summary) -> int:
    """How many items of a run have failed, in all sessions."""
    return summary.failed_before + summary.failed


def check_can_retry(
    journal: ResultStore, calls: RowCalls, check: InputCheck | None, engine_resumes: bool
) -> None:
    """Check that the failed items of a run can be sent again in it.

    Raises:
        ControlRefused: They cannot.
    """
    later = 'stop the run, and run its command again with only="failed"'
    if not isinstance(journal, Journal):
        raise ControlRefused("the lines of this run are in no file, so failed ones cannot be replaced")
    if engine_resumes:
        raise ControlRefused(f"the engine of this run cannot send failed items again; {later}")
    if not calls.is_single:
        raise ControlRefused(f"not for a run with steps or samples; {later}")
    if check is None or not check.reads_ahead:
        raise ControlRefused("the rows of this run can be read only once; begin it again with them")


async def remove_failed(journal: Journal, check: InputCheck, summary: Summary) -> int:
    """Remove the lines of failed items, and count them as not done.

    No call may be in flight, and the whole input must be checked.

    Returns:
        Their number.

    Raises:
        JournalError: The output cannot be read or replaced; it is unchanged.
    """
    removed = await anyio.to_thread.run_sync(_remove, journal, check)
    check.done -= check.failed
    check.failed = 0
    summary.forget_failures()
    return removed


def _remove(journal: Journal, check: InputCheck) -> int:
    try:
        journal.note_session()
    except OSError as error:
        raise JournalError(f"{journal.path}: {error.strerror}") from error
    return journal.remove(lambda id: journal.has_failed(id) and id in check)
