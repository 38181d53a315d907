"""Makes the input of what a user passes as rows: a path, a URL, or rows of Python code."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from typing import Any, TypeAlias

from headrace.bulk.sources.row_source import IdFunction, RowSource
from headrace.bulk.sources.source import Source
from headrace.errors import InputError

RowsLike: TypeAlias = str | os.PathLike[str] | Iterable[Any] | AsyncIterable[Any]
"""A path, a URL, or what `RowSource` takes."""


def as_input(
    rows: RowsLike,
    id_column: str | IdFunction | None = None,
    limit: int | None = None,
    encoding: str | None = None,
) -> Source | RowSource:
    """The input for a path or a URL (a string is one) or for rows.

    Raises:
        InputError: It cannot be read, or an argument does not belong to this kind of rows.
    """
    if not isinstance(rows, str | os.PathLike):
        if encoding is not None:
            raise InputError("encoding=: is for text files; leave it out for rows")
        return RowSource(rows, id_column, limit)
    if callable(id_column):
        raise InputError("id_column=: a function is for rows of Python code; name a column of the file")
    return Source(rows, id_column, limit, encoding)
