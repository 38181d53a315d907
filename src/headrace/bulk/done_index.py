"""What the lines of an output say of each item, in a file beside it that is read in a tenth of the time.

`OUT.index` describes the first bytes of the output, as many as it says, if they have the checksum that it
says. Otherwise it is not used, and written anew. So it can be deleted, and nothing is lost if it is torn or
out of date.

It is a sequence of blocks; each describes more lines than the one before. A torn block at the end is dropped.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import IO

import msgspec

from headrace.bulk.id_table import IdTable
from headrace.bulk.item_result import ItemResult
from headrace.bulk.output_line import NO_ERROR, JournalEntry, decode_entries, finite_sum, highest_index
from headrace.bulk.sources.text_prefix import TextPrefix

DONE, FAILED, REMOVED = range(3)
"""What an output holds of an item: its answer, its error, or nothing because its line was removed."""

_ENTRY = struct.Struct(">IB")
ENTRY_SIZE = _ENTRY.size
"""Bytes of an item's entry: the digest of its row, and one of the values above."""

entry_of: Callable[[int, int], bytes] = _ENTRY.pack
"""The entry of an item, from the digest of its row and its state."""

FEWEST_LINES = 10_000
"""Lines of an output from which it has an index. Fewer are read in some hundredths of a second."""

_LINES_PER_BLOCK = 10_000
_CHUNK = 1 << 20
_FRAME = struct.Struct("<8sII")
_MAGIC = b"HRINDEX1"


class Described(msgspec.Struct, array_like=True):
    """The part of an output that an index describes, and the sums over its lines.

    Attributes:
        size: Its bytes.
        checksum: Their CRC-32.
        lines: How many lines it has.
        failed: How many of them hold an error.
        first_index: The lowest index that none of them has.
        spent: Their cost in USD.
        prefix: The beginning of the input whose items are all done; None if it is not known.
    """

    size: int = 0
    checksum: int = 0
    lines: int = 0
    failed: int = 0
    first_index: int = 0
    spent: Decimal = Decimal(0)
    prefix: TextPrefix | None = None


class _Block(msgspec.Struct, array_like=True):
    """More ids and their entries, one after the other, and what the index describes with them."""

    described: Described
    ids: list[str]
    entries: bytes


class DoneIndex:
    """The index of an output.

    It is written only by the process that holds the lock of the run. If it cannot be written, the run does
    without it.

    Args:
        path: Its file, which need not exist.

    Attributes:
        described: What it describes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._ids: list[str] = []
        self._entries = bytearray()
        self._can_write = True
        self._written_prefix: TextPrefix | None = None
        self.described: Described = Described()

    def read(self, output: IO[bytes]) -> IdTable:
        """The entries of the part of the output that the index describes.

        Args:
            output: The output; afterwards it is at the end of this part.
        """
        table, end, described = IdTable(ENTRY_SIZE), 0, Described()
        with suppress(OSError, ValueError, msgspec.MsgspecError), self._path.open("rb") as file:
            end, described = _last_block(file)
            if described.lines and _checksum(output, described.size) == described.checksum:
                file.seek(0)
                for block in _blocks(file, end):
                    table.extend(block.ids, block.entries)
        if described.lines and (len(table) != described.lines or not table.is_distinct()):
            table, end, described = IdTable(ENTRY_SIZE), 0, Described()
        self._end, self.described, self._written_prefix = end, described, described.prefix
        output.seek(described.size)
        return table

    def add(self, lines: bytes, entries: Sequence[JournalEntry]) -> None:
        """Describe the next lines of the output; all are right."""
        described, spent = self.described, Decimal(0)
        described.size += len(lines)
        described.checksum = zlib.crc32(lines, described.checksum)
        described.lines += len(entries)
        for entry in entries:
            failed, notes = entry.error != NO_ERROR, entry.headrace
            described.failed += failed
            self._entries += entry_of(notes.digest, FAILED if failed else DONE)
            if notes.cost is not None or notes.possible_cost is not None:
                spent += entry.spent
        described.spent += spent
        described.first_index = max(described.first_index, highest_index(entries) + 1)
        self._ids += [entry.custom_id for entry in entries]
        if len(self._ids) >= _LINES_PER_BLOCK:
            self.write()

    def add_results(self, lines: bytes, rows: Sequence[ItemResult], size: int) -> None:
        """Describe lines that were just written, without reading them, by the results that they hold.

        They are left to `follow` if the index lacks lines before them, or if the lines hold more than the
        results.

        Args:
            lines: The lines.
            rows: The result of each line.
            size: Bytes of the output with them.
        """
        described = self.described
        is_next = described.size + len(lines) == size and described.lines >= FEWEST_LINES
        if not is_next or not all(row.id for row in rows):
            return
        described.size = size
        described.checksum = zlib.crc32(lines, described.checksum)
        described.lines += len(rows)
        for row in rows:
            failed = row.code is not None
            described.failed += failed
            self._entries += entry_of(row.digest, FAILED if failed else DONE)
            if row.cost is not None or row.possible_cost is not None:
                described.spent += finite_sum(row.cost, row.possible_cost)
            described.first_index = max(described.first_index, row.index + 1)
            self._ids.append(row.id)

    def follow(self, output: Path, number: int) -> None:
        """Describe the lines that this process has added to the output, unless it is short.

        Args:
            output: The output.
            number: How many lines it has.
        """
        if number < FEWEST_LINES:
            return
        with output.open("rb") as file:
            file.seek(self.described.size)
            while lines := file.read(_CHUNK) + file.readline():
                whole = lines[: lines.rfind(b"\n") + 1]
                if not whole:  # the rest is being written
                    break
                self.add(whole, decode_entries(whole))

    def restart(self) -> None:
        """Describe nothing, because the output is replaced."""
        self._end, self.described, self._written_prefix = 0, Described(), None
        self._ids, self._entries = [], bytearray()

    def write(self) -> None:
        """Write what was added; a short output gets no index."""
        is_new = self._ids or self.described.prefix != self._written_prefix
        if not is_new or self.described.lines < FEWEST_LINES:
            return
        if self._can_write:
            try:
                block = msgspec.msgpack.encode(_Block(self.described, self._ids, bytes(self._entries)))
                self._append(_FRAME.pack(_MAGIC, len(block), zlib.crc32(block)) + block)
            except (OSError, UnicodeEncodeError):
                self._can_write = False
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
        self._written_prefix = self.described.prefix
        self._ids, self._entries = [], bytearray()

    def _append(self, frame: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, self._end)
            written = os.pwrite(file, frame, self._end)
        finally:
            os.close(file)
        if written < len(frame):
            raise OSError("the disk is full")
        self._end += written


def _checksum(file: IO[bytes], size: int) -> int | None:
    """The checksum of the first bytes of a file; None if it is shorter."""
    checksum = 0
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            return None
        checksum = zlib.crc32(chunk, checksum)
        size -= len(chunk)
    return checksum


def _last_block(file: IO[bytes]) -> tuple[int, Described]:
    """Where the last whole block of an index ends, and what the index describes with it."""
    end, last = 0, b""
    while (block := _next_block(file)) is not None:
        end, last = file.tell(), block
    return end, msgspec.msgpack.decode(last, type=_Block).described if last else Described()


def _blocks(file: IO[bytes], end: int) -> Iterator[_Block]:
    decode = msgspec.msgpack.Decoder(_Block).decode
    while file.tell() < end and (block := _next_block(file)) is not None:
        yield decode(block)


def _next_block(file: IO[bytes]) -> bytes | None:
    """The bytes of the next block; None at the end, or if it is torn or no block."""
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    magic, size, checksum = _FRAME.unpack(head)
    block = file.read(size) if magic == _MAGIC else b""
    return block if len(block) == size and zlib.crc32(block) == checksum and block else None
