"""What an engine gets that makes the calls of a run; see `ExecutorEngine`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from decimal import Decimal
from pathlib import Path
from typing import Literal

import attrs

from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.executor import LocalExecutor, ResultHandler, WorkItem
from headrace.bulk.item_result import ItemResult, item_result
from headrace.calls import Outcome, Request
from headrace.client import Client
from headrace.client.direct_calls import DirectCalls
from headrace.endpoint import Endpoint
from headrace.wire.request_bodies import as_request, encode_request
from headrace.wire.structured_output import ResponseFormat


@attrs.frozen(kw_only=True)
class EngineSetup:
    """The run for which an engine makes the calls.

    Attributes:
        client: The open client.
        out: The file of the output lines, which the run has locked.
        run_id: The id of the run, the same in all its sessions.
        choices: The allowed answers of each step of a job; empty for any. A run without steps has one.
        answers: The format of the answers of each step; None for any.
        fail_on: The finish reasons that make an item fail.
        spent: Cost of earlier sessions, in USD.
        calls: What calls a row has: a "single" one, or "steps" or "samples" that `WorkItem.call` tells apart.
            A call for samples may ask for fewer answers in a later session, when some are there.
        is_done: Whether the output has a line for an id.
        sync: Syncs what results have brought to the disk.
        note_calls: Notes durably whether calls of the engine may go on when this process has ended. While
            they may, a session of the run without this engine is refused.
        notify: Shows a line of text to the user.
        drawn: The items that were drawn and are not finished; an executor may park them.
    """

    client: Client
    out: Path
    run_id: str
    choices: Sequence[Sequence[str]]
    answers: Sequence[ResponseFormat | None]
    fail_on: Set[str]
    spent: Decimal
    calls: Literal["single", "steps", "samples"]
    is_done: Callable[[str], bool]
    sync: Callable[[], Awaitable[None]]
    note_calls: Callable[[bool], None]
    notify: Callable[[str], None]
    drawn: DrawnItems

    def direct_calls(self, endpoint: Endpoint) -> DirectCalls:
        """Calls to an endpoint without the policies of the client."""
        return DirectCalls(self.client, endpoint)

    def prepare(self, item: WorkItem) -> tuple[Request, bytes]:
        """The complete request of an item, as a call would send it, and its body as JSON.

        Raises:
            HeadraceError: The item has no valid request; it fails without a call.
        """
        return encode_request(as_request(item.request, self.client.settings.model, self.answers[item.step]))

    def result(self, item: WorkItem, outcome: Outcome) -> ItemResult:
        """The result of an item, its answer checked."""
        choices = self.choices[item.step]
        result = item_result(item.index, item.id, outcome, choices, self.fail_on, item.digest)
        result.number, result.step = item.number, item.step
        return result

    async def call(self, items: Iterable[WorkItem], handle: ResultHandler) -> None:
        """Make ordinary calls for items, with all policies of the client; draws them as calls are made."""
        executor = LocalExecutor(self.client, (), None, self.fail_on, self.choices)
        await executor.work(iter(items), handle)
