"""Data sets of Hugging Face's package datasets, read through Arrow, so that nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BATCH = 128
"""Rows that are converted at once."""


def is_dataset(rows: Any) -> bool:
    """Whether this is a ``Dataset``, whose rows are on this machine."""
    return _is_of_datasets(rows) and hasattr(rows, "__len__")


def is_streamed_dataset(rows: Any) -> bool:
    """Whether this is an ``IterableDataset``, whose rows may come from the network."""
    return _is_of_datasets(rows) and not hasattr(rows, "__len__")


def _is_of_datasets(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "datasets" and hasattr(rows, "with_format")


class DatasetColumns:
    """A ``Dataset`` with an Arrow C stream. Rows that were filtered out or moved are so here, too."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset.with_format("arrow")

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        import pyarrow

        schema = self._dataset.features.arrow_schema
        batches = (
            batch
            for table in self._dataset.iter(_BATCH)
            for batch in table.cast(schema).combine_chunks().to_batches()
        )
        return pyarrow.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__(requested_schema)


def streamed_rows(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of an ``IterableDataset``.

    They are not read through Arrow, which takes the types of each batch from its values, and refuses the next
    batch if they differ.
    """
    rows = dataset.with_format(None)
    return iter(rows if rows.features is None else rows.decode(False))


def streamed_schema(dataset: Any) -> Any:
    """The pyarrow schema of an ``IterableDataset``; None if its types are not known before its rows."""
    return None if dataset.features is None else dataset.features.arrow_schema
