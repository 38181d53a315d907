"""Rows of Parquet and Arrow files, read with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace._support.text import printable
from headrace.bulk.sources.arrow_values import binary_columns, json_values
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.header import checked_columns
from headrace.errors import InputError

_BATCH = 128
"""Rows that are decoded at once. More rows are hardly faster, and need more memory for long texts."""

_BINARY_BATCH = 8
"""Rows that are decoded at once if there are columns of bytes, such as images of a megabyte."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at once; without it, a column's whole row group is read."""

_LONGEST_REASON = 300


class ColumnarRows:
    """The rows of a file of columns, read in batches.

    Dates, times and durations become ISO 8601 strings (to the microsecond), decimals strings with all their
    digits, bytes base64. NaN and infinity become null.
    """

    form = ""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise InputError(
                f"{file.name}: is {self.form}; pip install 'headrace[parquet]' to read it"
            ) from None
        with self._errors(), file.open() as content:
            self.schema: Any = self._schema(content)
            names: list[str] = self.schema.names
        self.columns: list[str] = checked_columns(names, file.name)
        fields = [field.with_name(name) for field, name in zip(self.schema, self.columns, strict=True)]
        self.binary_columns: frozenset[str] = frozenset(binary_columns(fields))
        self._batch = _BINARY_BATCH if self.binary_columns else _BATCH

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        number = 0
        for batch in self.batches():
            for row in self.rows_of(batch):
                number += 1
                yield number, row

    def batches(self) -> Iterator[Any]:
        """Record batches of pyarrow with the types of the file."""
        with self._file.open() as content:
            with self._errors():
                batches = self._batches(content)
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

    def _schema(self, content: Any) -> Any:
        raise NotImplementedError

    def _batches(self, content: Any) -> Iterator[Any]:
        raise NotImplementedError

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise an `InputError` for any error of pyarrow."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            reason = printable(" ".join(str(error).split()))[:_LONGEST_REASON]
            raise InputError(
                f"{self._file.name}: {self.form} that is damaged or not supported: {reason}"
            ) from error


class ParquetRows(ColumnarRows):
    """The rows of a Parquet file; a part of a row group is in memory."""

    form = "Parquet"

    def _schema(self, content: Any) -> Any:
        return self._reader(content).schema_arrow

    def _batches(self, content: Any) -> Iterator[Any]:
        batches: Iterator[Any] = self._reader(content).iter_batches(self._batch, use_threads=False)
        return batches

    def _reader(self, content: Any) -> Any:
        from pyarrow import parquet

        # In nanoseconds, legacy timestamps end in the year 2262, but dates in the year 9999 are common.
        # With a pre-buffer, whole row groups are read ahead, whatever the size of the buffer is.
        return parquet.ParquetFile(
            content, buffer_size=_BUFFER, pre_buffer=False, coerce_int96_timestamp_unit="us"
        )


class ArrowRows(ColumnarRows):
    """The rows of an Arrow file (Feather of version 2) or stream; one of its record batches is in memory."""

    form = "Arrow"

    def _schema(self, content: Any) -> Any:
        return self._reader(content).schema

    def _batches(self, content: Any) -> Iterator[Any]:
        reader = self._reader(content)
        if hasattr(reader, "num_record_batches"):
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            # Damaged offsets would otherwise be read outside of memory.
            batch.validate(full=True)
            for begin in range(0, batch.num_rows, self._batch):
                yield batch.slice(begin, self._batch)

    def _reader(self, content: Any) -> Any:
        from pyarrow import ipc

        is_file = self._file.head.startswith(b"ARROW1")
        return ipc.open_file(content) if is_file else ipc.open_stream(content)
