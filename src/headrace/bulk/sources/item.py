"""An item of the input, and what a run needs of an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import attrs

from headrace.bulk.sources.detection import SourceKind
from headrace.calls import Request
from headrace.errors import InputError


@attrs.define(eq=False)
class Item:
    """One item of the input.

    Attributes:
        index: Its position, from 0.
        line: Its line in the input, from 1; its row for kinds without lines (Parquet, Arrow, a JSON array,
            Excel).
        id: Its id.
        row: Its values by column; empty if there is a ``request``.
        request: The request, for common lines of the batch format.
        error: Why no request can be made for the item; None if one can.
    """

    index: int
    line: int
    id: str
    row: Mapping[str, Any] = attrs.field(repr=False)
    request: Request | None = attrs.field(default=None, repr=False)
    error: InputError | None = None


class TaskInput(Protocol):
    """The input of a task: a `Source`, or an engine's own input; ``where`` names a line in messages."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> SourceKind: ...
    @property
    def id_column(self) -> str | None: ...
    def where(self, line: int, /) -> str: ...
    def items(self) -> Iterator[Item]: ...
