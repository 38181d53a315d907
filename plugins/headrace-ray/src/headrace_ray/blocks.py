"""Items on their way through Ray Data: tables of pyarrow, a row an item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs
import pyarrow

from headrace import Request
from headrace.bulk import Item, SourceKind, Task
from headrace.plugins import EncodedBody, encode_body

ROWS = 512
"""Items in a block that an actor gets at once: enough that Ray's milliseconds for a block are microseconds an
item, and few enough that all actors have some of a small input."""

SCHEMA = pyarrow.schema(
    [
        ("key", pyarrow.uint64()),
        ("id", pyarrow.string()),
        ("path", pyarrow.string()),
        ("method", pyarrow.string()),
        ("body", pyarrow.binary()),
    ]
)
"""The request is made where the row is read: the actors have enough to do with the calls."""

_MOST_INDEX = 10**15
"""The ids of output lines have up to 15 digits."""


def key_of(id: str) -> int:
    """64 bits that stand for an id."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest())


def tables(keyed: Iterable[tuple[int, Item]], task: Task) -> Iterator[Any]:
    """Tables of the requests for items, each with its key; raises `InputError` for a bad one."""
    keyed = iter(keyed)
    while some := list(islice(keyed, ROWS)):
        rows = [_row(key, item, task.request(item)) for key, item in some]
        yield table_of(rows, SCHEMA)


def table_of(rows: Iterable[Sequence[Any]], schema: Any) -> Any:
    """A table of rows, of which there is one at least."""
    columns = zip(*rows, strict=True)
    arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pyarrow.table(arrays, schema)


def _row(key: int, item: Item, request: Request) -> tuple[int, str, str, str, bytes | None]:
    body = None if request.body is None else encode_body(request.body)
    return key, item.id, request.path, request.method, body


@attrs.frozen
class Block:
    """The items of such a table, as a task has them: each holds its whole request."""

    table: Any
    name: str = "block"
    kind: SourceKind = "batch"
    id_column: str | None = None

    def where(self, line: int) -> str:
        """How a message would name an item."""
        return f"{self.name}:{line}"

    def digest(self) -> str:
        """None of its own: it is the input's."""
        return ""

    def items(self) -> Iterator[Item]:
        """The items, whose index is made of their key."""
        columns = (self.table.column(name).to_pylist() for name in SCHEMA.names)
        for line, (key, id, path, method, body) in enumerate(zip(*columns, strict=True), 1):
            request = Request(None if body is None else EncodedBody(body), path, method, id)
            yield Item(index_of(key), line, id, {}, request)


def index_of(key: int) -> int:
    """The place that an output line names: the key itself where that is a place in the input."""
    return key % _MOST_INDEX
