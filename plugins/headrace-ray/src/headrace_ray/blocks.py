"""Items inside Ray Data: pyarrow tables, one row per item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs
import msgspec
import pyarrow

from headrace import InputError, Request
from headrace.bulk import Item, SourceKind, Task
from headrace.plugins import EncodedBody, encode_body

BLOCK_ROWS = 512
"""Items in a block: enough that Ray's overhead per block is only microseconds per item, and few enough that
a small input is spread over all actors."""

SCHEMA = pyarrow.schema(
    [
        ("key", pyarrow.uint64()),
        ("id", pyarrow.string()),
        ("path", pyarrow.string()),
        ("method", pyarrow.string()),
        ("body", pyarrow.binary()),
        ("tags", pyarrow.binary()),
        ("priority", pyarrow.int64()),
        ("error", pyarrow.string()),
    ]
)
"""The request is built where the row is read, because the actors are busy with the calls.

``tags`` is JSON. ``error`` says why an item has no request.
"""

_MAX_INDEX = 10**15
"""The ids of output lines have up to 15 digits."""


def key_of(id: str) -> int:
    """Return a 64-bit hash of an id."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest())


def request_tables(keyed: Iterable[tuple[int, Item]], task: Task) -> Iterator[Any]:
    """Yield tables of the requests for items, with their keys."""
    keyed = iter(keyed)
    while batch := list(islice(keyed, BLOCK_ROWS)):
        rows = [_row(key, item, task) for key, item in batch]
        yield make_table(rows, SCHEMA)


def make_table(rows: Iterable[Sequence[Any]], schema: Any) -> Any:
    """Return a table of rows; there must be at least one."""
    columns = zip(*rows, strict=True)
    arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pyarrow.table(arrays, schema)


def _row(key: int, item: Item, task: Task) -> tuple[Any, ...]:
    """Return the row of an item, by `SCHEMA`."""
    try:
        request = task.request(item)
    except InputError as error:  # concerns this item only
        return key, item.id, "", "", None, b"{}", 0, str(error)
    body = None if request.body is None else encode_body(request.body)
    tags = msgspec.json.encode(dict(request.tags))
    return key, item.id, request.path, request.method, body, tags, request.priority, None


@attrs.frozen
class BlockSource:
    """The items of such a table, as the source of a task; each item holds its whole request."""

    table: Any
    name: str = "block"
    kind: SourceKind = "batch"
    id_column: str | None = None

    def where(self, line: int) -> str:
        """Return the name of an item for messages."""
        return f"{self.name}:{line}"

    def items(self) -> Iterator[Item]:
        """Yield the items; their index is made from their key."""
        columns = (self.table.column(name).to_pylist() for name in SCHEMA.names)
        for line, (key, id, path, method, body, tags, priority, error) in enumerate(
            zip(*columns, strict=True), 1
        ):
            if error is not None:
                yield Item(index_of(key), line, id, {}, error=InputError(error))
                continue
            request = Request(
                *(None if body is None else EncodedBody(body), path, method, id),
                tags=msgspec.json.decode(tags),
                priority=priority,
            )
            yield Item(index_of(key), line, id, {}, request)


def index_of(key: int) -> int:
    """Return the index in an output line: the key itself if keys are indexes of the input."""
    return key % _MAX_INDEX
