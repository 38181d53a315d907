"""A session of a run: what all that handle its parts have in common."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping

from headrace import Request
from headrace.bulk import EngineSetup
from headrace_batch.cancelled_rows import CancelledRows
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.lost_batches import LostBatches
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part
from headrace_batch.part_file import decode_request_line, line_at, part_path
from headrace_batch.pricing import PartMoney
from headrace_batch.recovery import OpenRows
from headrace_batch.row_file import RowFile
from headrace_batch.signals import SessionSignals
from headrace_batch.stored_request import stored_request
from headrace_batch.waiting_rows import WaitingRows


class BatchSession:
    """A session of a run in batches.

    Args:
        setup: The run.
        options: The options.
        ledger: The ledger of the run.
        endpoints: The endpoints for parts.
        money: The budget.
        open_rows: The rows of parts that earlier sessions have left.
        waiting: Where the rows that wait are kept.
        finish_at: When batches are cancelled and the rest is sent as ordinary calls; None for never.

    Attributes:
        rows: The rows that wait, by part.
        cancelled: The rows that were cancelled.
        resumed: The parts of earlier sessions by number, until this session follows them.
        lost: The parts whose batch or results are not at the endpoint.
        signals: Whether the session leaves, finishes or pauses.
    """

    def __init__(
        self,
        setup: EngineSetup,
        options: BatchOptions,
        ledger: Ledger,
        endpoints: PartEndpoints,
        money: PartMoney,
        open_rows: OpenRows,
        waiting: RowFile,
        finish_at: datetime.datetime | None,
    ) -> None:
        self.setup: EngineSetup = setup
        self.options: BatchOptions = options
        self.ledger: Ledger = ledger
        self.endpoints: PartEndpoints = endpoints
        self.money: PartMoney = money
        self.open_rows: OpenRows = open_rows
        self.finish_at: datetime.datetime | None = finish_at
        self.rows: WaitingRows = WaitingRows(waiting, lambda *place: functools.partial(self._load, *place))
        self.cancelled: CancelledRows = CancelledRows(self.rows, ledger)
        self.resumed: dict[int, Part] = {number: ledger.parts[number] for number in open_rows.undone}
        self.lost: LostBatches = LostBatches(ledger, endpoints, setup.notify)
        self.signals: SessionSignals = SessionSignals()

    @property
    def sends_at_once(self) -> bool:
        """Whether rows that a batch did not finish are sent as ordinary calls."""
        return self.options.stragglers == "sync" or self.signals.finishing.is_set()

    def take_resumed(self) -> list[Part]:
        """The parts of earlier sessions, once; rows that are placed later are in none of them."""
        resumed, self.resumed = self.resumed, {}
        return list(resumed.values())

    def _load(self, number: int, line: int, step: int, tags: Mapping[str, str], id: str) -> Request:
        """The request of a row, read back from the disk; of an adopted batch, the one of this run."""
        part, answer = self.ledger.parts[number], self.setup.answers[step]
        if part.adopted:
            return self.open_rows.adopted.request(id, answer, tags)
        content = line_at(part_path(self.ledger.folder, number), line)
        body = bytes(decode_request_line(content).body)
        return stored_request(id, part.path, part.model, body, answer, tags)
