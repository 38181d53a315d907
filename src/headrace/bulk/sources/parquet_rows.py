"""Rows of a Parquet file, through pyarrow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec

from headrace.bulk.sources.files import InputFile
from headrace.errors import InputError

_BATCH = 128
"""Rows that are decoded at once: more would be hardly faster, and need more memory where texts are long."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at once; without it, all that a row group has of the column."""


class ParquetRows:
    """The rows of a Parquet file, read some at a time.

    In rows, dates, times and durations are texts of ISO 8601 (to the microsecond), decimals texts with all
    their digits, and bytes are base64. NaN and the infinities, which JSON has not, are null.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with self._errors(), file.open() as content:
            self.schema: Any = _reader(content, file.name).schema_arrow
        self.columns: list[str] = self.schema.names
        if len(set(self.columns)) != len(self.columns):
            raise InputError(f"{file.name}: a column's name stands twice in it")

    def batches(self) -> Iterator[Any]:
        """Record batches of pyarrow, with the types that the file has."""
        with self._file.open() as content:
            with self._errors():
                batches = _reader(content, self._file.name).iter_batches(_BATCH, use_threads=False)
            while True:
                with self._errors():
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    def rows_of(self, batch: Any) -> Iterator[Mapping[str, Any]]:
        """The rows of a record batch, their values as JSON has them."""
        with self._errors():
            columns = [json_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(self.columns, values, strict=True))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What pyarrow raises, which may be anything, becomes an `InputError`."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            raise InputError(f"{self._file.name}: damaged, or of a kind that is not read: {said}") from error


def _reader(content: Any, name: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{name}: is Parquet; pip install 'headrace[parquet]' to read it") from None
    # Legacy timestamps reach from the year 1677 to 2262 in nanoseconds, and "for ever" is often 9999.
    return parquet.ParquetFile(content, buffer_size=_BUFFER, coerce_int96_timestamp_unit="us")


def json_values(column: Any) -> list[Any]:
    """The values of a column as JSON has them."""
    import pyarrow

    of = pyarrow.types
    kind = _microseconds(column.type)
    if kind != column.type:  # Python's times have no nanoseconds
        column = column.cast(kind, safe=False)
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    as_they_are = (of.is_string, of.is_large_string, of.is_integer, of.is_boolean)
    return values if any(is_a(column.type) for is_a in as_they_are) else [_plain(value) for value in values]


def _microseconds(kind: Any) -> Any:
    """A type whose times are in microseconds where this one's, or those in it, are in nanoseconds."""
    import pyarrow

    of = pyarrow.types
    if of.is_timestamp(kind) and kind.unit == "ns":
        return pyarrow.timestamp("us", kind.tz)
    if of.is_time64(kind):
        return pyarrow.time64("us")
    if of.is_duration(kind) and kind.unit == "ns":
        return pyarrow.duration("us")
    if of.is_struct(kind):
        return pyarrow.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if of.is_map(kind):
        return pyarrow.map_(_microseconds(kind.key_type), _microseconds(kind.item_type))
    if of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(_microseconds(kind.value_type)))
    return kind


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return msgspec.to_builtins(value)
