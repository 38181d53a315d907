"""Pieces of an input, or of an output, as a data source of Ray Data: a read task each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

Read = Callable[[], Iterable[Any]]


class Pieces(Datasource):  # type: ignore[misc]
    """Functions that read, each a generator of pyarrow tables, so that no piece is in memory as a whole."""

    def __init__(self, reads: Sequence[Read]) -> None:
        self._reads = reads

    def get_name(self) -> str:
        """How Ray's progress calls it."""
        return "Headrace"

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        """One a piece, whatever ``parallelism`` is."""
        return [
            ReadTask(
                read,
                BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None),
                per_task_row_limit=per_task_row_limit,
            )
            for read in self._reads
        ]
