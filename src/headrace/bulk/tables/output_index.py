"""Finds the output lines of a run by their items."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.fingerprints import Fingerprints, read_fingerprints
from headrace.bulk.id_table import IdTable
from headrace.bulk.output_kind import cannot_be_read, check_torn_line, read_output_line
from headrace.bulk.output_line import OutputLine, decode_line
from headrace.bulk.sources import Item
from headrace.bulk.tables.answer_columns import answer_columns
from headrace.bulk.tables.column_types import ColumnTypes
from headrace.errors import InputError

_OFFSET_SIZE = 6


class OutputIndex:
    """An output file whose lines are found by item. A context manager.

    Args:
        out: The output file, or its content.

    Attributes:
        keys: The members of the answers that are objects, with their types; or the answers of steps, or
            samples.
        has_texts: Whether some answers are neither objects nor vectors.
        has_several: Whether the run had steps or samples.
        vector_lengths: The lengths of the answers that are vectors.
        fingerprints: What the lines were made with.
        found: How many lines `line_of` has returned.

    Raises:
        InputError: The output cannot be read, or is damaged.
    """

    def __init__(self, out: Path | io.BytesIO) -> None:
        self._out = out if isinstance(out, Path) else "answers"
        self._offsets = IdTable(_OFFSET_SIZE)
        self.keys: ColumnTypes = ColumnTypes()
        self.has_texts: bool = False
        self.has_several: bool = False
        self.vector_lengths: set[int] = set()
        self.fingerprints: Fingerprints = read_fingerprints(out) if isinstance(out, Path) else Fingerprints()
        self.found: int = 0
        self._file: IO[bytes]
        try:
            self._file = out.open("rb") if isinstance(out, Path) else io.BytesIO(out.getvalue())
        except OSError as error:
            raise InputError(cannot_be_read(out, error)) from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __len__(self) -> int:
        return len(self._offsets)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _read(self) -> None:
        offset = 0
        for number, raw in enumerate(self._file, 1):
            if not raw.endswith(b"\n"):
                check_torn_line(raw, str(self._out), number)
                return  # a crash cut this line off, so its item is not done
            line = read_output_line(raw, str(self._out), number)
            self._offsets.set(line.custom_id, offset.to_bytes(_OFFSET_SIZE))
            if line.steps is not None or line.answers is not None:
                self.has_several = True
                self.keys.note(answer_columns(line) or {})
            elif line.error is None:
                answer = line.headrace.answer
                if isinstance(answer, dict):
                    self.keys.note(answer)
                elif (vector := line.vector) is not None:
                    self.vector_lengths.add(len(vector))
                else:
                    self.has_texts = True
            offset += len(raw)

    def _decoded(self, raw: bytes) -> OutputLine:
        """Decode a line that was read before, and note its fingerprint."""
        try:
            line = decode_line(raw)
        except NOT_JSON as error:
            raise InputError(f"{self._out}: was changed while it was read: {error}") from None
        line.headrace.fingerprint = self.fingerprints.number_of(line.index or 0)
        return line

    def in_order(self) -> Iterator[OutputLine]:
        """All lines, in the order in which their items were drawn; takes about a hundred bytes per line."""
        places: list[tuple[int, int]] = []
        offset = 0
        self._file.seek(0)
        for raw in self._file:
            if raw.endswith(b"\n"):
                places.append((self._decoded(raw).index or 0, offset))
            offset += len(raw)
        for _, offset in sorted(places):
            self._file.seek(offset)
            yield self._decoded(self._file.readline())

    def line_of(self, item: Item) -> OutputLine | None:
        """The line of an item, None if it has none."""
        offset = self._offsets.get(item.id)
        if offset is None:
            return None
        self.found += 1
        self._file.seek(int.from_bytes(offset))
        return self._decoded(self._file.readline())
