"""The items of rows in memory or from Python code: data frames, iterables and async iterables."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from headrace._support.text import nearest, quoted, shortened
from headrace.bulk.sources.arrow_stream import ArrowStream, is_data_frame
from headrace.bulk.sources.arrow_values import binary_columns
from headrace.bulk.sources.content_ids import ContentIds
from headrace.bulk.sources.detection import SourceKind
from headrace.bulk.sources.fetched_items import FetchedItems
from headrace.bulk.sources.hugging_face import (
    DatasetColumns,
    is_dataset,
    is_streamed_dataset,
    streamed_rows,
    streamed_schema,
)
from headrace.bulk.sources.item import Item
from headrace.bulk.sources.item_id import as_id
from headrace.bulk.sources.row_values import as_mapping
from headrace.errors import InputError

IdFunction: TypeAlias = Callable[[Any], object]
"""Makes the id of a row."""

_ID_COLUMNS = ("custom_id", "id")


class RowSource:
    """Rows as the input of a run.

    A row is a mapping, a named tuple, a row of a database, or an object of a dataclass, attrs or pydantic.
    Its values must be such that JSON can hold them: dates, decimals, UUIDs and paths become strings, and NaN
    and missing values of pandas become null. Bytes are the content of an image or file; in a text they are
    base64. Of the index of a pandas data frame, the levels with a name are columns.

    Args:
        rows: A pandas or Polars data frame, a pyarrow table, or another object with an Arrow C stream; a data
            set of Hugging Face; a list or another iterable of rows; or an async iterable of rows. An iterator
            and a streamed data set can be read once.
        id_column: The column of the ids, or a function that makes the id of a row; None for ``custom_id`` or
            ``id``. Without such a column, ids are made of the rows' contents; see `ContentIds`.
        limit: Read only the first rows; None for all.

    Attributes:
        columns: The names of the columns; those of the first row, if they are known before the run.
        repeatable: Whether the rows can be read several times.
        binary_columns: The columns of bytes, if they are known before the run; see `Source.binary_columns`.
        is_async: Whether an event loop reads `async_items`.

    Raises:
        InputError: It is no such object, or it lacks the column.
    """

    kind: SourceKind = "rows"
    name: str = "rows"

    def __init__(
        self,
        rows: Iterable[Any] | AsyncIterable[Any],
        id_column: str | IdFunction | None = None,
        limit: int | None = None,
    ) -> None:
        self.limit = limit
        self._id_of = id_column if callable(id_column) else None
        self._is_streamed = is_streamed_dataset(rows)
        self.is_async: bool = self._is_streamed or isinstance(rows, AsyncIterable)
        self._stream: ArrowStream | None = None
        schema: Any = None
        frame: Any = DatasetColumns(rows) if is_dataset(rows) else rows
        if self._is_streamed:
            rows, schema = streamed_rows(rows), streamed_schema(rows)
        if is_data_frame(frame):
            self._stream = ArrowStream(frame)
            rows, schema = self._stream, self._stream.schema
        elif isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable | AsyncIterable):
            raise InputError(
                f"rows: must be a path, a data frame or an iterable of rows, not {type(rows).__name__}"
            )
        self.binary_columns: frozenset[str] = frozenset(() if schema is None else binary_columns(schema))
        self.repeatable: bool = isinstance(rows, Collection)
        if self._stream is not None:
            self.repeatable = self._stream.repeatable
        self._rows: Any = rows
        self.columns: list[str] = [] if self._stream is None else self._stream.columns
        if self._stream is None and isinstance(rows, Iterable):
            self._read_columns()
        self.id_column: str | None = self._find_id_column(id_column)

    def _read_columns(self) -> None:
        """Read the columns of the first row, which stays in the rows."""
        rows = iter(self._rows)
        first = next(rows, None)
        if first is None:
            return
        if not self.repeatable:
            self._rows = itertools.chain([first], rows)
        self.columns = list(as_mapping(first, self.where(1)))

    def _find_id_column(self, wanted: str | IdFunction | None) -> str | None:
        if callable(wanted):
            return None
        if wanted is None:
            return next((name for name in _ID_COLUMNS if name in self.columns), None)
        if self.columns and wanted not in self.columns:
            raise InputError(f"{self.name}: no column {quoted(wanted)}; {nearest(wanted, self.columns)}")
        return wanted

    @property
    def schema(self) -> Any:
        """The pyarrow schema of a data frame; None for other rows."""
        return None if self._stream is None else self._stream.schema

    def where(self, line: int) -> str:
        """The name of a row, for messages."""
        return f"row {line}"

    def check_unchanged(self) -> None:
        """Do nothing: objects of the program are not compared."""

    def items(self) -> Iterator[Item]:
        """All items in order; raises `InputError` for a bad row."""
        make_item = self._item_maker()
        for index, row in enumerate(itertools.islice(self._rows, self.limit)):
            yield make_item(index, row)

    def async_items(self) -> AsyncIterator[Item]:
        """All items of an async iterable, or of a streamed data set, which is read in a worker thread."""
        if self._is_streamed:
            return FetchedItems(self.items(), is_downloaded=lambda: False)
        return self._async_items()

    async def _async_items(self) -> AsyncIterator[Item]:
        make_item, index = self._item_maker(), 0
        async for row in self._rows:
            if index == self.limit:
                return
            yield make_item(index, row)
            index += 1

    def batches(self) -> Iterator[tuple[list[Item], Any]]:
        """The items of a data frame in batches, each with its pyarrow record batch."""
        assert self._stream is not None
        make_item, index = self._item_maker(), 0
        for batch in self._stream.batches():
            rows = itertools.islice(
                self._stream.rows_of(batch), None if self.limit is None else self.limit - index
            )
            items = [make_item(number, row) for number, row in enumerate(rows, index)]
            if not items:
                return
            yield items, batch.slice(0, len(items))
            index += len(items)

    def _item_maker(self) -> Callable[[int, Any], Item]:
        """A function that makes the items of one pass."""
        ids = ContentIds()
        wanted = self.id_column

        def make_item(index: int, row: Any) -> Item:
            nonlocal wanted
            where = self.where(index + 1)
            values = as_mapping(row, where)
            if self.is_async and index == 0 and wanted is None:  # its first row was not known before
                wanted = next((name for name in _ID_COLUMNS if name in values), None)
            if self._id_of is not None:
                id = _made_id(self._id_of, row, where)
            elif wanted is not None:
                if wanted not in values:
                    known = nearest(wanted, values)
                    raise InputError(f"{where}: no column {quoted(wanted)} for the id; {known}")
                id = values[wanted]
            else:
                id = ids.id_of(values)
            return Item(index, index + 1, as_id(id, "the id", where), values)

        return make_item


def _made_id(function: IdFunction, row: Any, where: str) -> object:
    try:
        return function(row)
    except Exception as error:
        reason = shortened(f"{type(error).__name__}: {error}", 300).rstrip(" :")
        raise InputError(f"{where}: the function id_column= raised {reason}") from error
