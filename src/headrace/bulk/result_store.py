"""What a run needs of the place where its results are stored."""

from __future__ import annotations

from typing import Protocol

from headrace.bulk.sources import Item


class ResultStore(Protocol):
    """Stores the output lines of a run; `Journal` is one, `StdoutLines` another.

    Lines that ``append`` has written survive a crash of the process; after ``sync`` they survive a crash of
    the machine. ``was_removed`` is true for an item whose line was removed, so that it is sent again. The
    first item of the input gets the index ``first_index``.
    """

    @property
    def first_index(self) -> int: ...
    def is_done(self, item: Item, /) -> bool: ...
    def was_removed(self, item: Item, /) -> bool: ...
    def append(self, indexes: list[int], lines: bytes, /) -> None: ...
    async def sync(self) -> None: ...
