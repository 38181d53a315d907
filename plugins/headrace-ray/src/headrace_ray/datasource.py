"""A Ray Data datasource made of functions: one read task each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

ReadFunction = Callable[[], Iterable[Any]]


class FunctionDatasource(Datasource):  # type: ignore[misc]
    """Reads by functions; each yields pyarrow tables, so that no file is in memory as a whole."""

    def __init__(self, functions: Sequence[ReadFunction]) -> None:
        self._functions = functions

    def get_name(self) -> str:
        """Return the name in Ray's progress bars."""
        return "Headrace"

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: the size is not known."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        """Return one task per function, whatever ``parallelism`` is."""
        return [
            ReadTask(
                function,
                BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None),
                per_task_row_limit=per_task_row_limit,
            )
            for function in self._functions
        ]
