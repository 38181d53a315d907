"""What a run has written, as a dataset of Ray Data."""

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
from headrace_ray.blocks import table_of
from headrace_ray.shards import PATTERN
from headrace_ray.source import Pieces

_ROWS = 1024

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
    """The items that a run has done, in no order, from the folder that it writes to.

    Columns: ``id``, ``answer`` (its text, or JSON where it is an object), ``error`` (code and message, null
    for a success), ``attempts``, ``elapsed`` in seconds and ``cost`` in USD. Raises `InputError` for a folder
    without shards.
    """
    shards = sorted(Path(out).absolute().glob(PATTERN))
    if not shards:
        raise InputError(f"{out}: no shards in it; name the --out of a run on Ray")
    return ray.data.read_datasource(
        Pieces([partial(_read, shard) for shard in shards]), override_num_blocks=len(shards)
    )


def _read(shard: Path) -> Iterator[Any]:
    with shard.open("rb") as file:
        whole = (raw for raw in file if raw.endswith(b"\n"))  # a torn last line is not done
        while some := list(islice(whole, _ROWS)):
            rows = [_row(raw) for raw in some]
            yield table_of(rows, _SCHEMA)


def _row(raw: bytes) -> tuple[Any, ...]:
    line = decode_line(raw)
    answer, notes, error = line.answer, line.headrace, line.error
    text = None if answer is None else as_text(answer)
    failure = None if error is None else str(error)
    return line.custom_id, text, failure, notes.attempts, notes.elapsed, notes.cost
