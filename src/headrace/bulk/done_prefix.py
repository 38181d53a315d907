"""Skips the beginning of an input whose items are all done, without reading its rows."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.bulk.journal import Journal
from headrace.bulk.result_store import ResultStore
from headrace.bulk.sources import Item, Source, TaskInput
from headrace.bulk.sources.text_prefix import SHORTEST, PrefixReader, TextPrefix
from headrace.errors import InputError


class DonePrefix:
    """The beginning of an input whose items are all done; the index of the output keeps it.

    It counts only if its content is the same as when the items were done. The kind of input decides whether
    items can be skipped, see `Source.prefix_reader`.

    Args:
        source: The input.
        journal: Where results are stored; only a `Journal` has an index.

    Attributes:
        size: How many items `items_after` has skipped.
    """

    def __init__(self, source: TaskInput, journal: ResultStore) -> None:
        self._source = source
        self._journal = journal if isinstance(journal, Journal) else None
        self._reader: PrefixReader | None = None
        self.size: int = 0
        if self._journal is not None and isinstance(source, Source):
            self._reader = source.prefix_reader()

    def items_after(self) -> Iterator[Item]:
        """The items after the beginning; all items if there is none."""
        if self._journal is None or self._reader is None:
            return iter(self._source.items())
        assert isinstance(self._source, Source)
        known = self._journal.index.described.prefix
        if known is not None and known != self._prefix(known.index, known.line):
            self._reader = self._source.prefix_reader()
            known = self._journal.index.described.prefix = None
        self.size = 0 if known is None else known.index
        return self._source.items_after(known)

    def extend(self, index: int, line: int) -> None:
        """Note that all items before one are done: the item's position, and its line."""
        if self._journal is None or self._reader is None:
            return
        found = self._prefix(index, line)
        if found is None:
            self._reader = None
        elif found.size >= SHORTEST:
            self._journal.index.described.prefix = found

    def _prefix(self, index: int, line: int) -> TextPrefix | None:
        assert self._reader is not None
        try:
            return self._reader.prefix(index, line)
        except InputError:  # the input was changed; who reads its items will say so
            return None
