"""The items of a run that were drawn and are not finished."""

from __future__ import annotations

from headrace.bulk.executor import WorkItem


class DrawnItems(dict[int, WorkItem]):
    """The items that were drawn and are not finished, by their index.

    An executor whose items wait for hours can park them: it keeps what it needs of each elsewhere, and they
    take no memory here. It unparks an item before it hands over its result.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parked = 0
        self._first_parked: WorkItem | None = None

    def park(self, item: WorkItem) -> None:
        """Forget an item, because its executor keeps it elsewhere."""
        del self[item.index]
        self._parked += 1
        if self._first_parked is None or item.index < self._first_parked.index:
            self._first_parked = item

    def unpark(self, item: WorkItem) -> None:
        """Take back a parked item, as it was read back, because its result comes now."""
        self[item.index] = item
        self._parked -= 1

    @property
    def first(self) -> WorkItem | None:
        """An item before which all items are finished; None if all are.

        While any item is unfinished, this is not behind the first one that was ever parked: which of the
        parked ones are still there is not known.
        """
        if not self and not self._parked:
            self._first_parked = None
        # Items that were not parked are in the order in which they were drawn.
        first, parked = next(iter(self.values()), None), self._first_parked
        if first is None or parked is None:
            return first or parked
        return min(first, parked, key=lambda item: item.index)
