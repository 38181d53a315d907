"""Finds the output lines of a run by their items."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.output_line import OutputLine, decode_line
from headrace.bulk.sources import Item
from headrace.bulk.tables.column_types import ColumnTypes
from headrace.errors import InputError

_NOWHERE = -1


class OutputIndex:
    """An output file whose lines are found by item; takes eight bytes per item. A context manager.

    Args:
        out: The output file.
        limit: Maximum number of items of the input; None for no limit.

    Attributes:
        keys: The members of the answers that are objects, with their types.
        has_texts: Whether some answers are not objects.

    Raises:
        InputError: The output cannot be read, or is damaged.
    """

    def __init__(self, out: Path, limit: int | None = None) -> None:
        self._out = out
        self._offsets = array("q")
        self.keys: ColumnTypes = ColumnTypes()
        self.has_texts: bool = False
        try:
            self._file = out.open("rb")
        except OSError as error:
            raise InputError(f"{out}: {error.strerror}") from error
        try:
            self._read(limit)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _read(self, limit: int | None) -> None:
        offset = 0
        for number, raw in enumerate(self._file, 1):
            if not raw.endswith(b"\n"):
                return  # a crash cut this line off, so its item is not done
            line = self._decoded(raw, f"{self._out}:{number}")
            index = line.index
            if index is None:
                raise InputError(
                    f"{self._out}:{number}: not an output line of headrace run: its id is {line.id!r}"
                )
            if limit is None or index < limit:
                missing = index + 1 - len(self._offsets)
                if missing > 0:
                    self._offsets.extend(array("q", [_NOWHERE]) * missing)
                self._offsets[index] = offset
                if line.error is None:
                    answer = line.headrace.answer
                    if isinstance(answer, dict):
                        self.keys.note(answer)
                    else:
                        self.has_texts = True
            offset += len(raw)

    def _decoded(self, raw: bytes, where: str) -> OutputLine:
        try:
            return decode_line(raw)
        except NOT_JSON as error:
            raise InputError(f"{where}: damaged: {error}") from None

    def line_of(self, item: Item) -> OutputLine | None:
        """The line of an item, None if it has none.

        Raises:
            InputError: The line at this place belongs to another item.
        """
        offset = self._offsets[item.index] if item.index < len(self._offsets) else _NOWHERE
        if offset == _NOWHERE:
            return None
        self._file.seek(offset)
        line = self._decoded(self._file.readline(), str(self._out))
        if line.custom_id != item.id:
            raise InputError(
                f"{self._out}: {line.id} is {line.custom_id!r} in the output, but {item.id!r} in the input; "
                "name the input and the id column of the run that wrote this output"
            )
        return line
