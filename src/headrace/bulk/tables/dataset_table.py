"""The answers of a run as a data set of Hugging Face's package datasets."""

from __future__ import annotations

from typing import Any

_FEATURES = b"huggingface"
"""Where the metadata of an Arrow schema keeps the features, like the names of labels."""


def as_dataset(datasets: Any, table: Any, schema: Any) -> Any:
    """A table as a ``Dataset``.

    Args:
        datasets: The package.
        table: The table of pyarrow.
        schema: The pyarrow schema of the input, whose columns keep their features; None for no columns.
    """
    if schema is None or _FEATURES not in (schema.metadata or {}):
        return datasets.Dataset(table)
    features = datasets.Features.from_arrow_schema(table.schema)
    known = datasets.Features.from_arrow_schema(schema)
    features.update({name: known[name] for name in known if name in features})
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))
