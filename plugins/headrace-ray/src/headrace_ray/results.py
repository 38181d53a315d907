"""The output of a run as a Ray Data dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import ray.data

from headrace import InputError
from headrace.bulk import as_text, decode_line
from headrace_ray.blocks import make_table
from headrace_ray.datasource import FunctionDatasource
from headrace_ray.shards import PATTERN

_TABLE_ROWS = 1024

_SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("answer", pyarrow.string()),
        ("error", pyarrow.string()),
        ("attempts", pyarrow.int64()),
        ("elapsed", pyarrow.float64()),
        ("cost", pyarrow.decimal128(38, 18)),
    ]
)


def read_results(out: str | os.PathLike[str]) -> ray.data.Dataset:
    """Read the finished items of a run from its output folder, in any order.

    Args:
        out: The output folder.

    Returns:
        A dataset with the columns ``id``, ``answer`` (text, or JSON if it is an object), ``error`` (code and
        message, null for a success), ``attempts``, ``elapsed`` in seconds and ``cost`` in USD.

    Raises:
        InputError: The folder has no shards.
    """
    shards = sorted(Path(out).absolute().glob(PATTERN))
    if not shards:
        raise InputError(f"{out}: has no shards; name the --out of a run on Ray")
    return ray.data.read_datasource(
        FunctionDatasource([partial(_read, shard) for shard in shards]), override_num_blocks=len(shards)
    )


def _read(shard: Path) -> Iterator[Any]:
    """Yield tables of the items of a shard."""
    with shard.open("rb") as file:
        whole = (raw for raw in file if raw.endswith(b"\n"))  # a torn last line is not a finished item
        while batch := list(islice(whole, _TABLE_ROWS)):
            rows = [_row(raw) for raw in batch]
            yield make_table(rows, _SCHEMA)


def _row(raw: bytes) -> tuple[Any, ...]:
    """Return the columns of an output line."""
    line = decode_line(raw)
    answer, notes, error = line.answer, line.headrace, line.error
    text = None if answer is None else as_text(answer)
    failure = None if error is None else str(error)
    return line.custom_id, text, failure, notes.attempts, notes.elapsed, notes.cost
