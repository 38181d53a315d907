"""Are millions of ids distinct? Eight bytes an id, where a set of texts takes a hundred."""

from __future__ import annotations

from array import array

_BUCKETS = 1024


class Distinct:
    """Collects the hashes of ids, in buckets that are checked one at a time."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, id: str) -> None:
        """Take note of an id."""
        value = hash(id)
        self._buckets[value % _BUCKETS].append(value)

    def repeated(self) -> set[int]:
        """The hashes that came more than once: of every repeated id, hardly ever of another."""
        found: set[int] = set()
        for bucket in self._buckets:
            seen: set[int] = set()
            for value in bucket:
                if value in seen:
                    found.add(value)
                seen.add(value)
        return found
