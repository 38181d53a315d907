"""A matrix of vectors in NumPy's file format, written row by row without NumPy."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO

import attrs

from headrace._support.text import quoted
from headrace._support.units import format_count
from headrace.errors import InputError
from headrace.wire.embeddings import Vector, vector_bytes

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER_SIZE = 128
"""Bytes before the numbers. The number of rows is known at the end, so the size must not depend on it."""

_NAN = struct.pack("<f", float("nan"))
_MOST_NAMED = 3


@attrs.define
class MissingRows:
    """The rows of a matrix without a vector.

    Attributes:
        number: How many they are.
        ids: The ids of the first ones.
    """

    number: int = 0
    ids: list[str] = attrs.field(factory=list)

    def add(self, id: str) -> None:
        """Add a row."""
        self.number += 1
        if len(self.ids) < _MOST_NAMED:
            self.ids.append(id)

    def __str__(self) -> str:
        """How many they are, and the first ids."""
        more = self.number - len(self.ids)
        names = ", ".join(quoted(id) for id in self.ids) + (f" and {more:,} more" if more else "")
        return f"{format_count(self.number, 'row')} without a vector, filled with NaN: {names}"


def write_matrix(
    file: IO[bytes], lengths: set[int], vectors: Iterable[tuple[str, Vector | None]]
) -> MissingRows:
    """Write a row of 32-bit floats for each vector; a row without one is NaN.

    Args:
        file: A new file.
        lengths: The lengths of the vectors; an empty set gives rows without numbers.
        vectors: The vectors, each with its id.

    Returns:
        The rows without a vector.

    Raises:
        InputError: The vectors have different lengths.
    """
    if len(lengths) > 1:
        shown = ", ".join(map(str, sorted(lengths)[:3]))
        raise InputError(
            f"the vectors have different lengths ({shown}), so they are no matrix; name a .parquet file"
        )
    length = next(iter(lengths), 0)
    missing, rows = MissingRows(), 0
    file.write(bytes(_HEADER_SIZE))
    for id, vector in vectors:
        rows += 1
        if vector is None:
            missing.add(id)
        file.write(_NAN * length if vector is None else vector_bytes(vector))
    described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {length}), }}".encode()
    size = _HEADER_SIZE - len(_MAGIC) - 2
    file.seek(0)
    file.write(_MAGIC + struct.pack("<H", size) + described.ljust(size - 1) + b"\n")
    return missing
