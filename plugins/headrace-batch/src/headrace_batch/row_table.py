"""Which row belongs to which part, in little memory: rows may wait for a day, and there may be a million."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from headrace.bulk import IdTable, WorkItem
from headrace_batch.part import Part

_SIZE = 4


class RowTable:
    """The rows that this session has drawn, by their ``custom_id``, with the part of each."""

    def __init__(self) -> None:
        self._places = IdTable(2 * _SIZE)
        self._items: list[WorkItem | None] = []
        self._rows: dict[int, array[int]] = {}

    def assign(self, custom_id: str, item: WorkItem, number: int) -> None:
        """Put a row into a part; it leaves the one in which it was before."""
        place = len(self._items)
        self._items.append(item)
        self._places.set(custom_id, place.to_bytes(_SIZE) + number.to_bytes(_SIZE))
        self._rows.setdefault(number, array("I")).append(place)

    def part_of(self, custom_id: str) -> int | None:
        """The number of the part in which a row was last; None for a row that this session did not draw."""
        found = self._places.get(custom_id)
        return None if found is None else int.from_bytes(found[_SIZE:])

    def take(self, custom_id: str, part: Part) -> WorkItem | None:
        """Remove a row from its part and return it; None if the part has it no longer."""
        found = self._places.get(custom_id)
        if found is None or int.from_bytes(found[_SIZE:]) != part.number:
            return None
        place = int.from_bytes(found[:_SIZE])
        item, self._items[place] = self._items[place], None
        part.outstanding -= item is not None
        return item

    def take_all(self, part: Part) -> Iterator[WorkItem]:
        """Remove all rows that are left in a part."""
        for place in self._rows.pop(part.number, ()):
            item, self._items[place] = self._items[place], None
            if item is not None:
                part.outstanding -= 1
                yield item
