"""The result of a bulk run: its totals, and the answers as outcomes, a data frame or a data set."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import attrs

from headrace.bulk.memory_journal import MemoryJournal, MemoryReader
from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import RowSource, Source
from headrace.bulk.sources.pandas_frames import pandas_table
from headrace.bulk.summary import Summary
from headrace.bulk.tables.arrow_table import read_table
from headrace.bulk.tables.dataset_table import as_dataset
from headrace.bulk.tables.matrix import write_matrix
from headrace.bulk.tables.output_index import OutputIndex
from headrace.errors import InputError
from headrace.wire.embeddings import Vector

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars
    import pyarrow

Output: TypeAlias = Path | MemoryJournal
"""The output file, or the lines in memory."""


@attrs.define(eq=False, repr=False)
class Result(Summary):
    """The totals of a run, and its answers.

    Iterating yields an `OutputLine` for each finished item, in the order of the input. Rows that can be read
    only once come in the order in which their calls began.

    A table has a row for each finished item: the id, the input's columns, and headrace's own columns
    (``answer``, the members of typed answers or ``embedding``, and ``error``, ``finish_reason``,
    ``attempts``, ``elapsed``, ``cost``); see the output format. The columns of rows that can be read only
    once are not kept. With steps or samples, there is a column for each answer in place of ``answer``.

    Example:
        ```python
        result = await headrace.run(client, frame, prompt="Category of {name}?", choices=["garden", "sport"])
        print(result.succeeded, result.cost)
        answers = result.to_pandas()
        ```
    """

    _source: Source | RowSource = attrs.field(kw_only=True, repr=False)
    _output: Output = attrs.field(kw_only=True, repr=False)

    def __iter__(self) -> Iterator[OutputLine]:
        with self._index() as output:
            if not self._is_repeatable:
                yield from output.in_order()
                return
            for item in self._source.items():
                if (line := output.line_of(item)) is not None:
                    yield line

    def open_output(self) -> IO[bytes] | MemoryReader:
        """A reader of the lines that are written from now on."""
        if isinstance(self._output, MemoryJournal):
            return MemoryReader(self._output.content)
        file = self._output.open("rb")
        file.seek(0, os.SEEK_END)
        return file

    def _index(self) -> OutputIndex:
        output = self._output
        return OutputIndex(output.content if isinstance(output, MemoryJournal) else output)

    @property
    def _is_repeatable(self) -> bool:
        return isinstance(self._source, Source) or self._source.repeatable

    def to_arrow(self) -> pyarrow.Table:
        """The table as pyarrow; columns of data frames, Parquet and Arrow keep their types.

        Raises:
            InputError: pyarrow is not installed.
        """
        with self._index() as output:
            return read_table(self._source if self._is_repeatable else None, output)

    def to_pandas(self) -> pandas.DataFrame:
        """The table as a pandas data frame; needs pandas."""
        _import("pandas")
        frame: pandas.DataFrame = pandas_table(self.to_arrow(), self._source.schema)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """The table as a Polars data frame; needs Polars."""
        frame: polars.DataFrame = _import("polars").from_arrow(self.to_arrow())
        return frame

    def to_numpy(self) -> numpy.ndarray[Any, Any]:
        """The vectors of a run with ``task="embed"`` as a matrix of 32-bit floats; needs numpy.

        It has a row for each row of the input, in that order; a row without a vector is NaN. For rows that
        can be read only once, it has a row for each finished item, in the order of their calls.

        Raises:
            InputError: There are no vectors, or they differ in length.
        """
        content = io.BytesIO()
        with self._index() as output:
            if not output.vector_lengths:
                raise InputError('the run has no vectors; to_numpy() is for task="embed"')
            write_matrix(content, output.vector_lengths, self._vectors(output))
        content.seek(0)
        matrix: numpy.ndarray[Any, Any] = _import("numpy").load(content)
        return matrix

    def _vectors(self, output: OutputIndex) -> Iterator[tuple[str, Vector | None]]:
        if not self._is_repeatable:
            yield from ((line.custom_id, line.vector) for line in output.in_order())
            return
        for item in self._source.items():
            line = output.line_of(item)
            yield item.id, None if line is None else line.vector

    def to_dataset(self) -> Any:
        """The table as a Hugging Face `Dataset`; needs the package datasets.

        The columns of a data set keep their features, like the names of labels.
        """
        datasets = _import("datasets")
        return as_dataset(datasets, self.to_arrow(), self._source.schema if self._is_repeatable else None)


def _import(name: str) -> Any:
    """Import a package that this method is for."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"this method needs {name}; pip install {name}") from None
