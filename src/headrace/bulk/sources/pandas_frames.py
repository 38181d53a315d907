"""Data frames of pandas as Arrow tables, and back."""

from __future__ import annotations

import json
from typing import Any

_METADATA = b"pandas"


def is_of_pandas(frame: Any) -> bool:
    """Whether this is a data frame of pandas."""
    return type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "reset_index")


def arrow_table(frame: Any) -> Any:
    """The frame as a pyarrow table: the levels of its index that have names are columns, other levels not.

    A level without a name is the place of a row in some other frame, and so not part of the row.
    """
    import pyarrow

    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index(level=named)
    return pyarrow.Table.from_pandas(frame, preserve_index=False)


def pandas_table(table: Any, schema: Any) -> Any:
    """A pyarrow table as a data frame, in which columns have the pandas types that they came with.

    Args:
        table: The table.
        schema: The schema of the input, with the metadata of pandas; None for none.
    """
    found = (None if schema is None else schema.metadata) or {}
    if _METADATA not in found:
        return table.to_pandas()
    metadata = {**json.loads(found[_METADATA]), "index_columns": []}
    return table.replace_schema_metadata({_METADATA: json.dumps(metadata)}).to_pandas()
