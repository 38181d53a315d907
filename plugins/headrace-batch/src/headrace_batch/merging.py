"""Merges the files of an ended batch into the run: one result per row, whatever the order of the lines."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from functools import cached_property

import anyio
import anyio.lowlevel
import attrs
import msgspec

from headrace import CallCancelled, CallError, Headers, HeadraceError, Outcome, Reply, Request, StatusError
from headrace.bulk import IdTable, ItemResult, ResultHandler, WorkItem
from headrace_batch.batch_api import PartEndpoint
from headrace_batch.dialect import BatchView
from headrace_batch.part import Part
from headrace_batch.part_file import custom_id_of, lines_of, part_path
from headrace_batch.part_steps import wait_after
from headrace_batch.result_lines import FileReport, ResultLine, read_result_line, split_lines
from headrace_batch.session import BatchSession
from headrace_batch.waiting_rows import RowChain, RowsById, WaitingRow

_TOGETHER = 64
"""Results that are handed over together."""

_MOST_SHORT_DOWNLOADS = 3
"""Downloads that may lack lines before the rows without a line count as not executed."""

_NOT_FOUND = 404

_DOWNLOAD_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


class ResultsMissing(Exception):
    """The endpoint does not have a file with results of a batch; the part is among the lost ones."""


@attrs.define
class Merged:
    """What merging a part gave.

    Attributes:
        left: Rows without a final result.
        spent: USD.
    """

    left: RowChain
    spent: Decimal = Decimal(0)


class PartMerger:
    """Merges parts, one at a time.

    Args:
        session: The session.
        handle: Gets the results.
    """

    def __init__(self, session: BatchSession, handle: ResultHandler) -> None:
        self._session = session
        self._setup = session.setup
        self._handle = handle
        self._turn = anyio.Lock()

    async def merge(self, part: Part, batch: BatchView, endpoint: PartEndpoint, *, final: bool) -> Merged:
        """Hand over the results of a part.

        Args:
            part: The part.
            batch: Its batch, which has ended.
            endpoint: Where it is.
            final: Whether rows that failed are not tried again.

        Raises:
            StepFailed: A file cannot be fetched; the rows that arrived are handed over.
        """
        async with self._turn:
            merge = _Merge(self._session, self._handle, part, endpoint, batch.seconds or 0.0, final)
            report = await self._download(merge, batch)
            merge.end()
            if part.adopted:
                report.foreign = report.unused = 0  # they were named when the rows were drawn
            missing = (batch.finished or 0) - report.lines
            found = [str(report)] if str(report) else []
            if missing > 0:
                found.append(f"{missing:,} lines fewer than it has finished requests")
            if found:
                self._setup.notify(f"Batch {batch.id} (part {part.number}): {', '.join(found)}.")
            return merge.merged

    async def _download(self, merge: _Merge, batch: BatchView) -> FileReport:
        """Read all files of a batch, again if a connection is lost or lines are missing.

        Returns what was wrong in the last download.
        """
        downloads, short, repeated = 0, 0, 0
        while True:
            report = FileReport()
            downloads += 1
            try:
                await merge.read_files(batch, report)
            except CallError as error:
                merge.flush()
                if isinstance(error, StatusError) and error.status == _NOT_FOUND:
                    if await self._session.lost.note(merge.part, "results"):
                        return report
                    raise ResultsMissing from error
                pause = min(_DOWNLOAD_PAUSE * 2 ** (downloads - 1), _LONGEST_PAUSE)
                await wait_after(error, pause, downloads, f"fetch the results of batch {batch.id}")
                continue
            short += 1
            complete = report.lines >= (batch.finished or 0) and not report.cut
            if downloads == 1:
                repeated = report.repeated
            if complete or short == _MOST_SHORT_DOWNLOADS:
                report.repeated = repeated  # later downloads repeat all rows of the first
                return report
            await anyio.sleep(_DOWNLOAD_PAUSE)

    def refuse(self, part: Part, endpoint: PartEndpoint, refusals: dict[str, str]) -> Merged:
        """Fail the rows that made the endpoint refuse a batch; the others are left."""
        merge = _Merge(self._session, self._handle, part, endpoint, 0.0, False)
        for custom_id, message in refusals.items():
            body = msgspec.Raw(msgspec.json.encode({"error": {"message": message, "code": None}}))
            line = msgspec.convert(
                {"custom_id": custom_id, "response": {"status_code": 400, "body": body}}, ResultLine
            )
            merge.add(line, FileReport())
        merge.end()
        return merge.merged


class _Merge:
    """The merge of one part."""

    def __init__(
        self,
        session: BatchSession,
        handle: ResultHandler,
        part: Part,
        endpoint: PartEndpoint,
        seconds: float,
        final: bool,
    ) -> None:
        self.merged = Merged(session.rows.chain(part.number))
        self._session = session
        self._setup, self._money = session.setup, session.money
        self._rows = RowsById(session.rows.take(part.number))
        self._handle = handle
        self.part = part
        self._calls = endpoint.calls
        self._content = endpoint.api.content
        self._seconds = seconds
        self._final = final
        body = {} if part.model is None else {"model": part.model}
        self._request = Request(body, part.path)
        self._results: list[ItemResult] = []
        self._failed: list[ItemResult] = []
        self._any_succeeded = False

    async def read_files(self, batch: BatchView, report: FileReport) -> None:
        """Read the lines of all files of a batch."""
        for file in batch.output_files:
            async with self._content(file) as (_, parts), aclosing(split_lines(parts, report)) as lines:
                async for raw in lines:
                    line = read_result_line(raw)
                    if line is None:
                        report.malformed += 1
                    else:
                        self.add(line, report)
                    if len(self._results) >= _TOGETHER:
                        self.flush()
                        await anyio.lowlevel.checkpoint()

    def add(self, line: ResultLine, report: FileReport) -> None:
        """Take the result of a row."""
        custom_id = custom_id_of(line.custom_id)  # an adopted batch may have longer ones
        row = self._rows.take(custom_id)
        if row is None:
            self._report_unawaited(custom_id, report)
            return
        outcome = self._outcome(row.item, line)
        if outcome is None:
            self.merged.left.add(*row)
        else:
            result = self._finish(row, outcome)
            self._any_succeeded = self._any_succeeded or result.answered
            (self._results if result.shared is None else self._failed).append(result)

    def _report_unawaited(self, custom_id: str, report: FileReport) -> None:
        """Count the result of a row that nobody waits for."""
        if custom_id in self._rows:
            report.repeated += 1
        elif self._ids.get(custom_id) is None:
            report.foreign += 1
        elif custom_id not in self._session.open_rows.done:  # an earlier session has taken those
            report.unused += 1

    @cached_property
    def _ids(self) -> IdTable:
        """The ids of all rows of the part."""
        ids = IdTable(0)
        for custom_id, _ in lines_of(part_path(self._session.ledger.folder, self.part.number)):
            ids.set(custom_id, b"")
        return ids

    def _finish(self, row: WaitingRow, outcome: Outcome) -> ItemResult:
        self._setup.drawn.unpark(row.item)
        return self._setup.result(row.item, outcome)

    def _outcome(self, item: WorkItem, line: ResultLine) -> Outcome | None:
        """What a call with this result would have returned; None if the row must be tried again."""
        status, is_cancelled = line.status, self._session.cancelled.take(item.id)
        if is_cancelled and (status is None or status >= 300):
            return self._cancelled(item)
        if not self._final and (status is None or status >= 500 or status in {408, 409, 429}):
            return None
        if status is None:
            return self._failure(item, line.reason)
        reply = Reply(status, Headers([]), line.body)
        if line.response is not None and line.response.request_id:
            reply.headers = Headers([(b"x-request-id", line.response.request_id.encode())])
        error: HeadraceError | None = None
        try:
            reply = self._calls.read_answer(self._request, reply, self._setup.answers[item.step])
        except CallError as failure:
            error = failure
            reply = failure.partial or reply
        if status < 300:
            self.merged.spent += self._money.charge(reply, self.part.model, self._calls.endpoint, item.tags)
            if isinstance(error, CallError):
                error.cost = reply.cost
        if is_cancelled:
            return self._cancelled(item, reply.cost)
        found = None if error is not None else reply
        return Outcome(item.index, None, found, error, 1, self._seconds, item)

    def _cancelled(self, item: WorkItem, cost: Decimal | None = None) -> Outcome:
        """What a cancelled row gets in place of its answer, which costs something even so."""
        error = CallCancelled("cancelled while it was in a batch")
        error.cost = cost
        return Outcome(item.index, None, None, error, 1, self._seconds, item)

    def _failure(self, item: WorkItem, reason: str) -> Outcome:
        error = CallError(f"not executed by the batch: {reason}")
        return Outcome(item.index, None, None, error, 1, self._seconds, item)

    def flush(self) -> None:
        """Hand over the results that are ready."""
        results, self._results = self._results, []
        if results:
            self.part.outstanding -= len(results)
            self._handle(results)

    def end(self) -> None:
        """Hand over the rest. Rows without a result are left."""
        if self._any_succeeded:
            for result in self._failed:
                result.shared = None  # other rows of the batch did not get this error
        self._results += self._failed
        self._failed = []
        for row in self._rows.take_rest():
            if self._session.cancelled.take(row.item.id):
                self._results.append(self._finish(row, self._cancelled(row.item)))
                continue
            if not self._final:
                self.merged.left.add(*row)
                continue
            self._results.append(self._finish(row, self._failure(row.item, "no result")))
            if len(self._results) >= _TOGETHER:
                self.flush()
        self.part.outstanding -= len(self.merged.left)
        self.flush()
