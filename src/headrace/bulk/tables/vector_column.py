"""Columns of vectors in Arrow: 32-bit floats, in lists of a fixed size if all vectors have one length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from headrace.wire.embeddings import Vector, vector_bytes


def vector_type(length: int | None) -> Any:
    """The pyarrow type for vectors of this length; None if they differ."""
    import pyarrow

    return pyarrow.list_(pyarrow.float32(), -1 if length is None else length)


def vector_array(vectors: Sequence[Vector | None], length: int | None) -> Any:
    """A pyarrow array of vectors; their numbers are copied as bytes, never as Python objects."""
    import pyarrow

    missing = pyarrow.array([vector is None for vector in vectors])
    filler = b"" if length is None else bytes(4 * length)
    parts = [filler if vector is None else vector_bytes(vector) for vector in vectors]
    content = b"".join(parts)
    buffers = [None, pyarrow.py_buffer(content)]
    numbers = pyarrow.Array.from_buffers(pyarrow.float32(), len(content) // 4, buffers)
    if length is not None:
        return pyarrow.FixedSizeListArray.from_arrays(numbers, length, mask=missing)
    ends = accumulate((len(part) // 4 for part in parts), initial=0)
    offsets = pyarrow.array(list(ends), pyarrow.int32())
    return pyarrow.ListArray.from_arrays(offsets, numbers, mask=missing)
