"""Rows of a Parquet file, read with pyarrow."""

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
"""Rows that are decoded at once. More rows are hardly faster, and need more memory for long texts."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at once; without it, a column's whole row group is read."""


class ParquetRows:
    """The rows of a Parquet file, read in batches.

    Dates, times and durations become ISO 8601 strings (to the microsecond), decimals strings with all their
    digits, bytes base64. NaN and infinity become null.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with self._errors(), file.open() as content:
            self.schema: Any = _reader(content, file.name).schema_arrow
        self.columns: list[str] = self.schema.names
        if len(set(self.columns)) != len(self.columns):
            raise InputError(f"{file.name}: two columns have the same name")

    def batches(self) -> Iterator[Any]:
        """Record batches of pyarrow with the types of the file."""
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
        """The rows of a record batch, with values that JSON can represent."""
        with self._errors():
            columns = [json_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(self.columns, values, strict=True))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise an `InputError` for any error of pyarrow."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self._file.name}: damaged, or not supported: {reason}") from error


def _reader(content: Any, name: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{name}: is Parquet; pip install 'headrace[parquet]' to read it") from None
    # In nanoseconds, legacy timestamps end in the year 2262, but dates in the year 9999 are common.
    return parquet.ParquetFile(content, buffer_size=_BUFFER, coerce_int96_timestamp_unit="us")


def json_values(column: Any) -> list[Any]:
    """The values of a pyarrow column, converted to what JSON can represent."""
    import pyarrow

    of = pyarrow.types
    kind = _microseconds(column.type)
    if kind != column.type:  # Python's times have no nanoseconds
        column = column.cast(kind, safe=False)
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    unchanged = (of.is_string, of.is_large_string, of.is_integer, of.is_boolean)
    return values if any(is_a(column.type) for is_a in unchanged) else [_plain(value) for value in values]


def _microseconds(kind: Any) -> Any:
    """This type with microseconds instead of nanoseconds, nested types included."""
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
