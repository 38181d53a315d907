"""Items whose texts are sent in one request, and how they are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from decimal import Decimal
from typing import Any

import attrs

from headrace.bulk.executor import WorkItem
from headrace.calls import Request
from headrace.client.embeddings import MAX_BYTES
from headrace.errors import CallCancelled, HeadraceError, InputError


def text_of(item: WorkItem) -> str:
    """The text of an item, also of one that was cancelled."""
    text: str = (item.own_request.body or {})["input"]
    return text


def size_of(item: WorkItem) -> int:
    """The bytes of a text. Its tokens are at most as many, and for one model they are about in proportion."""
    text = text_of(item)
    return len(text) if text.isascii() else len(text.encode())


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


@attrs.define(eq=False)
class Batch:
    """Items whose texts are sent in one request.

    Attributes:
        items: The items.
        members: Members of the body that replace those of the items' requests.
        parent: The rejected batch of which this is one half; None for a new batch.
        accepted_halves: How many halves of this batch the endpoint has accepted.
        cost: Cost in USD of rejected batches that these items were in; None for none.
        possible_cost: Their maximum cost in USD of attempts whose cost is unknown; None for none.
    """

    items: list[WorkItem]
    members: dict[str, Any] = attrs.field(factory=dict)
    parent: Batch | None = None
    accepted_halves: int = 0
    cost: Decimal | None = None
    possible_cost: Decimal | None = None

    @property
    def request(self) -> Request:
        """The request for all texts. It is made when the call begins, so that batches that wait hold none."""
        first = self.items[0].request
        return attrs.evolve(
            first,
            body={**(first.body or {}), "input": [text_of(item) for item in self.items], **self.members},
            fresh=any(item.request.fresh for item in self.items),
        )

    def add_cost(self, ended: object) -> tuple[Decimal | None, Decimal | None]:
        """The cost and the possible cost of this batch, including its reply or error."""
        return (
            _sum(self.cost, getattr(ended, "cost", None)),
            _sum(self.possible_cost, getattr(ended, "possible_cost", None)),
        )

    def halves(self, error: object) -> tuple[Batch, Batch]:
        """Two batches for one that ended with an error; the first one carries its cost.

        They hold the shorter and the longer texts, so that those that are too long stay together.
        """
        items, middle = sorted(self.items, key=size_of), len(self.items) // 2
        shorter = Batch(items[:middle], self.members, self, 0, *self.add_cost(error))
        return shorter, Batch(items[middle:], self.members, self)


class BatchBuilder:
    """Puts items together to batches, in their order.

    Args:
        fail: Called with an item that has no request, and its error.

    Attributes:
        most_texts: The most texts in a batch.
    """

    def __init__(self, most_texts: int, fail: Callable[[WorkItem, HeadraceError], None]) -> None:
        self.most_texts: int = most_texts
        self._fail = fail
        self._items: list[WorkItem] = []
        self._size = 0

    def add(self, item: WorkItem) -> list[WorkItem]:
        """Add an item; returns the items of a batch that is complete now, or nothing.

        A batch has at most `MAX_BYTES` of text. A longer text is alone, and the endpoint decides about it.
        """
        try:
            item.request  # noqa: B018 - raises the error of an item that must fail
            size = size_of(item)
        except (InputError, CallCancelled) as error:
            self._fail(item, error)
            return []
        if self._items and self._size + size > MAX_BYTES:
            complete = self.take()
            self._items, self._size = [item], size
            return complete
        self._items.append(item)
        self._size += size
        return self.take() if len(self._items) >= self.most_texts else []

    def remove(self, indexes: Set[int]) -> list[WorkItem]:
        """Remove the items with these indexes from a batch that is not complete, and return them."""
        removed = [item for item in self._items if item.index in indexes]
        self._items = [item for item in self._items if item.index not in indexes]
        self._size -= sum(map(size_of, removed))
        return removed

    def take(self) -> list[WorkItem]:
        """The items of a batch that is not complete, which is empty afterwards."""
        items, self._items, self._size = self._items, [], 0
        return items


def batches_of(items: Iterable[WorkItem], most_texts: int) -> Iterator[list[WorkItem]]:
    """The items in batches; all of them must have a text."""
    builder = BatchBuilder(most_texts, _refuse)
    for item in items:
        if complete := builder.add(item):
            yield complete
    if rest := builder.take():
        yield rest


def _refuse(item: WorkItem, error: HeadraceError) -> None:
    raise error
