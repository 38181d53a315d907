"""Data frames of pandas, Polars and pyarrow, read through the Arrow C stream.

See https://arrow.apache.org/docs/format/CStreamInterface.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace._support.text import quoted, shortened
from headrace.bulk.sources.arrow_values import json_values
from headrace.bulk.sources.header import checked_columns
from headrace.bulk.sources.pandas_frames import arrow_table, is_of_pandas
from headrace.errors import InputError

_BATCH = 128
"""Rows that are decoded at once."""


def is_data_frame(rows: Any) -> bool:
    """Whether the rows are columns that can be read as Arrow."""
    return hasattr(rows, "__arrow_c_stream__") or _is_lazy(rows)


def _is_lazy(rows: Any) -> bool:
    """Whether this is a LazyFrame of Polars, whose values do not exist yet."""
    return _is_of_polars(rows) and hasattr(rows, "collect")


def _is_of_polars(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "polars"


class ArrowStream:
    """The rows of a data frame.

    Attributes:
        repeatable: Whether the rows can be read several times; a `pyarrow.RecordBatchReader` is read once.

    Raises:
        InputError: pyarrow is not installed, the frame cannot be read as Arrow, or two columns have one name.
    """

    def __init__(self, frame: Any) -> None:
        try:
            import pyarrow
        except ImportError:
            raise InputError(
                "rows: pip install 'headrace[parquet]' to read data frames; it needs pyarrow"
            ) from None
        if _is_lazy(frame):
            frame = frame.collect(engine="streaming")
        self.repeatable: bool = not isinstance(frame, pyarrow.RecordBatchReader)
        with _errors(frame):
            self._frame = arrow_table(frame) if is_of_pandas(frame) else frame
            self.schema: Any = _without_views(self._reader().schema)
        self.columns: list[str] = checked_columns(self.schema.names, "rows")

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for batch in self.batches():
            yield from self.rows_of(batch)

    def batches(self) -> Iterator[Any]:
        """Record batches of pyarrow with the types of the data frame."""
        import pyarrow

        for batch in self._reader():
            if batch.schema != self.schema:
                columns = [_cast(*each) for each in zip(batch.columns, self.schema.types, strict=True)]
                batch = pyarrow.record_batch(columns, schema=self.schema)
            for start in range(0, len(batch), _BATCH):
                yield batch.slice(start, _BATCH)

    def _reader(self) -> Any:
        import pyarrow

        return pyarrow.RecordBatchReader.from_stream(self._frame) if self.repeatable else self._frame

    def rows_of(self, batch: Any) -> Iterator[Mapping[str, Any]]:
        """The rows of a record batch, with values that JSON can represent."""
        columns = [json_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(self.columns, values, strict=True))


@contextmanager
def _errors(frame: Any) -> Iterator[None]:
    """Raise an `InputError` for a frame that cannot be read as Arrow."""
    kind = type(frame).__name__
    if hasattr(frame, "to_frame"):
        raise InputError(f"rows: must be a data frame, not one column ({kind}); pass its to_frame()")
    if _is_of_polars(frame):
        objects = [name for name, kind in frame.schema.items() if str(kind) == "Object"]
        if objects:  # Polars would hand out their addresses
            raise InputError(
                f"rows: column {quoted(objects[0])} has Python objects; make them texts or numbers"
            )
    try:
        yield
    except Exception as error:  # of pyarrow, pandas and Polars
        raise InputError(
            f"rows: this {kind} cannot be read as Arrow: {_reason(error)}; "
            "give each column one type and a name of its own, for example with astype(str)"
        ) from error


def _reason(error: Exception) -> str:
    return shortened("; ".join(map(str, error.args)), 300)


def _without_views(schema: Any) -> Any:
    """The schema without view types, which Polars uses and for which pyarrow lacks functions."""
    import pyarrow

    fields = [field.with_type(_plain_type(field.type)) for field in schema]
    return pyarrow.schema(fields, schema.metadata)


def _plain_type(kind: Any) -> Any:
    import pyarrow

    types = pyarrow.types
    if types.is_string_view(kind):
        return pyarrow.large_string()
    if types.is_binary_view(kind):
        return pyarrow.large_binary()
    if types.is_dictionary(kind):
        return pyarrow.dictionary(kind.index_type, _plain_type(kind.value_type), kind.ordered)
    if types.is_list(kind) or types.is_large_list(kind):
        make_list = pyarrow.list_ if types.is_list(kind) else pyarrow.large_list
        return make_list(_plain_type(kind.value_type))
    if types.is_struct(kind):
        inner = (kind.field(place) for place in range(kind.num_fields))
        return pyarrow.struct([field.with_type(_plain_type(field.type)) for field in inner])
    return kind


def _cast(column: Any, kind: Any) -> Any:
    """A column as another type."""
    import pyarrow

    if column.type == kind:
        return column
    if pyarrow.types.is_dictionary(column.type):
        values = column.dictionary.cast(kind.value_type)
        return pyarrow.DictionaryArray.from_arrays(column.indices, values, ordered=kind.ordered)
    return column.cast(kind)
