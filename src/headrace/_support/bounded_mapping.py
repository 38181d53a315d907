"""A mapping for what callers may invent without end, as models and tags are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMapping(dict[K, V]):
    """Makes the value of a key that is not there, and drops keys that were not used of late.

    ``mapping[key]`` is a plain look-up for a key that is in use. Of others it holds ``most`` at most: as soon
    as half as many are young, those that are old are dropped, and the young ones are old. A key that is asked
    for is young again. Reads besides ``mapping[key]`` see young keys alone; `everything` sees all.

    Args:
        make: Makes the value of a key.
        most: How many keys are held at most, besides those whose value is in use.
        in_use: Whether a value must not be dropped, because somebody waits for it, say.
    """

    def __init__(
        self, make: Callable[[K], V], *, most: int = 1000, in_use: Callable[[V], bool] | None = None
    ) -> None:
        super().__init__()
        self._make = make
        self._half = most // 2
        self._in_use = in_use
        self._old: dict[K, V] = {}

    def __missing__(self, key: K) -> V:
        if len(self) >= self._half:
            in_use = self._in_use
            kept = {} if in_use is None else {key: old for key, old in self._old.items() if in_use(old)}
            self._old = kept | self
            self.clear()
        value = self[key] = self._old.pop(key) if key in self._old else self._make(key)
        return value

    def find(self, key: K) -> V | None:
        """The value of a key where there is one, old or young; it is not made, and gets no younger."""
        return self[key] if key in self else self._old.get(key)

    def everything(self) -> Iterator[V]:
        """All values, young and old."""
        yield from self.values()
        yield from self._old.values()

    def forget(self) -> None:
        """Drop all."""
        self.clear()
        self._old.clear()
