"""A mapping whose size is bounded, for keys that callers choose freely, such as models and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMapping(dict[K, V]):
    """A mapping that makes missing values and drops keys that were not used recently.

    It has two generations. When the young one has ``max_size / 2`` keys, the old one is dropped and the young
    one becomes old. ``mapping[key]`` makes an old key young again, and is a plain dict look-up for a young
    one. Other reads see young keys only; `all_values` and `all_items` see both generations.

    Args:
        make: Makes the value of a missing key.
        max_size: Maximum number of keys, not counting those whose value is in use.
        in_use: Returns whether a value must not be dropped, for example because a call waits for it.
    """

    def __init__(
        self, make: Callable[[K], V], *, max_size: int = 1000, in_use: Callable[[V], bool] | None = None
    ) -> None:
        super().__init__()
        self._make = make
        self._half = max_size // 2
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
        """The value of a key, or None; it is not made, and an old key stays old."""
        return self[key] if key in self else self._old.get(key)

    def all_values(self) -> Iterator[V]:
        """The values of both generations."""
        yield from self.values()
        yield from self._old.values()

    def all_items(self) -> Iterator[tuple[K, V]]:
        """The keys and values of both generations."""
        yield from self.items()
        yield from self._old.items()

    def forget(self) -> None:
        """Drop all keys of both generations."""
        self.clear()
        self._old.clear()
