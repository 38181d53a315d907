"""Finds duplicates among millions of ids with eight bytes per id; a set of strings needs a hundred."""

from __future__ import annotations

from array import array

_BUCKETS = 1024


class DuplicateFinder:
    """Collects the hashes of ids in buckets, and checks the buckets one at a time."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, id: str) -> None:
        """Add an id."""
        value = hash(id)
        self._buckets[value % _BUCKETS].append(value)

    def repeated(self) -> set[int]:
        """The hashes that were added more than once: of every repeated id, and rarely of another one."""
        found: set[int] = set()
        for bucket in self._buckets:
            seen: set[int] = set()
            for value in bucket:
                if value in seen:
                    found.add(value)
                seen.add(value)
        return found
