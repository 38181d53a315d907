"""The vectors of a run as Parquet, or as a matrix in NumPy's format with the ids beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, ClassVar

import attrs

from headrace.bulk.output_path import real_path
from headrace.bulk.tables import Table
from headrace.bulk.tables.matrix import MissingRows, write_matrix
from headrace.bulk.tables.output_index import OutputIndex
from headrace.bulk.tables.table import temporary_file
from headrace.errors import InputError
from headrace.wire.embeddings import Vector
from headrace.wire.request_bodies import encode_json


@attrs.frozen
class VectorTable(Table):
    """The vectors of a run; see `Table`.

    A Parquet file has a row for each finished item. A ``.npy`` file has a row for each row of the input,
    which is NaN if the row has no vector, and ``FILE.ids.json`` has the ids in the same order.

    Attributes:
        missing: The rows of the last matrix that have no vector.
    """

    suffixes: ClassVar[Sequence[str]] = (".parquet", ".npy")
    missing: MissingRows = attrs.field(factory=MissingRows, init=False)

    @property
    def ids(self) -> Path:
        """The file of the ids."""
        return Path(f"{self.path}.ids.json")

    def _fill(self, file: IO[bytes], output: OutputIndex) -> None:
        if self.path.suffix.lower() != ".npy":
            super()._fill(file, output)
            return
        with temporary_file(self.ids) as (ids, name):
            vectors = self._vectors(ids, output)
            try:
                missing = write_matrix(file, output.vector_lengths, vectors)
            except InputError as error:
                raise InputError(f"{self.path}: {error}; finished items are in {self.out}") from None
            ids.flush()
            os.replace(name, real_path(self.ids))
        object.__setattr__(self, "missing", missing)

    def _vectors(self, ids: IO[bytes], output: OutputIndex) -> Iterator[tuple[str, Vector | None]]:
        """All rows of the input with their vectors; their ids are written to a file."""
        before = b"["
        for item in self.source.items():
            ids.write(before + b"\n" + encode_json(item.id))
            before = b","
            line = output.line_of(item)
            yield item.id, None if line is None else line.vector
        ids.write(b"\n]\n")
