"""The rows of parts that wait for their results. They take no memory, but for a few bytes of each part."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Set
from typing import NamedTuple, TypeAlias

import msgspec

from headrace import Request
from headrace.bulk import IdTable, WorkItem
from headrace_batch.part_file import custom_id_of
from headrace_batch.row_file import RowFile

RequestLoader: TypeAlias = Callable[[int, int, int, Mapping[str, str]], Callable[[str], Request]]
"""Of the number of a part, the position of a line in its file, and the step and the tags of the row: a
function that reads that request."""

_HEAD = struct.Struct(">QQQQQIHIII")
"""The record before it in the chain, the members of a row, and the lengths of its tags and its id, which
follow."""

_CALL = 7
"""Where the call of a row is in its record."""

_NO_TAGS: Mapping[str, str] = {}

_USUAL_SIZE = 128
"""Bytes in which most records fit, so that they are read at once."""

_NONE = (1 << 64) - 1
_SIZE = 4


class WaitingRow(NamedTuple):
    """A row that waits.

    Attributes:
        item: The row. Its request is read from the file of the part.
        line: The position of its line in that file.
    """

    item: WorkItem
    line: int


class RowChain:
    """Rows of a part, in a `RowFile` in which each record names the one before it.

    Args:
        file: The file.
        part: The number of the part.
        loader: Loads requests.
    """

    def __init__(self, file: RowFile, part: int, loader: RequestLoader) -> None:
        self._file = file
        self._part = part
        self._loader = loader
        self._last = _NONE
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[WaitingRow]:
        """The rows, the last one first."""
        for place, _ in self.ids():
            yield self.at(place)

    def ids(self) -> Iterator[tuple[int, str]]:
        """The position and the ``custom_id`` of each row, the last one first."""
        place = self._last
        while place != _NONE:
            head, _, id = self._read(place)
            yield place, custom_id_of(id, head[_CALL])
            place = head[0]

    def add(self, item: WorkItem, line: int) -> None:
        """Add a row, whose line is at this position of the part's file."""
        id = item.id.encode("utf-8", "surrogatepass")
        tags = msgspec.json.encode(dict(item.tags)) if item.tags else b""
        members = (item.index, item.number, item.line, line, item.digest, item.step, item.call)
        head = _HEAD.pack(self._last, *members, len(tags), len(id))
        self._last = self._file.append(head + tags + id)
        self._size += 1

    def at(self, place: int) -> WaitingRow:
        """The row at a position."""
        (_, index, number, in_input, line, digest, step, call, *_), tags, id = self._read(place)
        load = self._loader(self._part, line, step, tags)
        return WaitingRow(WorkItem(index, id, load, number, digest, step, in_input, call, tags), line)

    def _read(self, place: int) -> tuple[tuple[int, ...], Mapping[str, str], str]:
        record = self._file.read(place, _USUAL_SIZE)
        head = _HEAD.unpack_from(record)
        of_tags, of_id = head[-2:]
        rest = record[_HEAD.size : _HEAD.size + of_tags + of_id]
        if len(rest) < of_tags + of_id:
            rest = self._file.read(place + _HEAD.size, of_tags + of_id)
        tags = msgspec.json.decode(rest[:of_tags]) if of_tags else _NO_TAGS
        return head, tags, rest[of_tags:].decode("utf-8", "surrogatepass")


class RowsById:
    """The rows of one part by their ``custom_id``, in about 20 bytes each: one part is merged at a time."""

    def __init__(self, rows: RowChain) -> None:
        self._rows = rows
        self._numbers = IdTable(_SIZE)
        self._places = array("Q")
        for place, id in rows.ids():
            self._numbers.set(id, len(self._places).to_bytes(_SIZE))
            self._places.append(place)

    def __contains__(self, custom_id: str) -> bool:
        """Whether the row was there at first."""
        return self._numbers.get(custom_id) is not None

    def take(self, custom_id: str) -> WaitingRow | None:
        """Remove a row and return it; None if it is not there, or not any more."""
        found = self._numbers.get(custom_id)
        return None if found is None else self._take(int.from_bytes(found))

    def take_rest(self) -> Iterator[WaitingRow]:
        """Remove all rows that are left."""
        for number in range(len(self._places)):
            if (row := self._take(number)) is not None:
                yield row

    def _take(self, number: int) -> WaitingRow | None:
        place, self._places[number] = self._places[number], _NONE
        return None if place == _NONE else self._rows.at(place)


class WaitingRows:
    """The rows that this session has drawn and that wait for their results, by part.

    Args:
        file: Where they are kept.
        loader: Loads requests.
    """

    def __init__(self, file: RowFile, loader: RequestLoader) -> None:
        self._file = file
        self._loader = loader
        self._chains: dict[int, RowChain] = {}

    def add(self, part: int, item: WorkItem, line: int) -> None:
        """Add a row to a part, in whose file its line is at this position."""
        if part not in self._chains:
            self._chains[part] = self.chain(part)
        self._chains[part].add(item, line)

    def find(self, ids: Set[str]) -> dict[int, set[str]]:
        """Those of the ids whose rows are here, by part. All rows are read, so this takes a while."""
        found = {
            part: {item.id for item, _ in chain if item.id in ids} for part, chain in self._chains.items()
        }
        return {part: there for part, there in found.items() if there}

    def take(self, part: int) -> RowChain:
        """Remove the rows of a part, and return them."""
        return self._chains.pop(part, None) or self.chain(part)

    def chain(self, part: int) -> RowChain:
        """A new chain, without rows."""
        return RowChain(self._file, part, self._loader)
