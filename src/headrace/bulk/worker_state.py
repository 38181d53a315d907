"""What the process of a run knows of its workers: their shares of the calls, and their items."""

from __future__ import annotations

import attrs

from headrace.bulk.executor import WorkItem
from headrace.bulk.unfinished_calls import UnfinishedCalls
from headrace.bulk.worker_protocol import WorkerOrder


@attrs.define(eq=False)
class WorkerState:
    """The state of a worker in this process.

    Attributes:
        number: Its place among the workers, also that of the one which replaces it.
        share: Its most calls in flight.
        items: What it was given and has not finished, by index.
        in_flight: Its calls in flight when it reported last.
        orders: What it is told next.
        unfinished: What its calls wait for; None until it has reported.
    """

    number: int
    share: int
    items: dict[int, WorkItem] = attrs.field(factory=dict)
    in_flight: int = 0
    orders: list[WorkerOrder] = attrs.field(factory=list)
    unfinished: UnfinishedCalls | None = None


def shares(total: int, processes: int) -> list[int]:
    """The calls in flight of each process."""
    share, more = divmod(total, processes)
    return [share + (number < more) for number in range(processes)]
