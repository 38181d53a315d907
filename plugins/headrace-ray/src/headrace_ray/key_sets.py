"""Sets of items that are done: one bit per item if keys are indexes of the input, else eight bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import attrs
import numpy

Array: TypeAlias = "numpy.ndarray[Any, Any]"


class KeySet(Protocol):
    """A set of keys; the processes of a machine share it in Ray's object store."""

    def __len__(self) -> int: ...
    def contains(self, keys: Array, /) -> Array: ...


@attrs.frozen(eq=False)
class SortedKeys:
    """A set of any keys, sorted."""

    keys: Array

    @classmethod
    def of(cls, arrays: Iterable[Array]) -> SortedKeys:
        """Return the set of all keys in some arrays."""
        return cls(numpy.unique(numpy.concatenate([numpy.empty(0, numpy.uint64), *arrays])))

    def __len__(self) -> int:
        return len(self.keys)

    def contains(self, keys: Array) -> Array:
        """Return, for each key, whether it is in the set."""
        if not len(self.keys):
            return numpy.zeros(len(keys), bool)
        positions = numpy.searchsorted(self.keys, keys)
        positions[positions == len(self.keys)] = 0
        return numpy.asarray(self.keys[positions] == keys)


@attrs.frozen(eq=False)
class IndexBitmap:
    """A set of indexes below a number."""

    bits: Array

    @classmethod
    def of(cls, arrays: Iterable[Array], number: int) -> IndexBitmap:
        """Return the set of all indexes in some arrays that are below ``number``."""
        bits = numpy.zeros((number + 7) // 8, numpy.uint8)
        for indexes in arrays:
            indexes = indexes[indexes < number]
            numpy.bitwise_or.at(bits, indexes >> 3, (1 << (indexes & 7)).astype(numpy.uint8))
        return cls(bits)

    def __len__(self) -> int:
        return int(numpy.bitwise_count(self.bits).sum())

    def contains(self, keys: Array) -> Array:
        """Return, for each key, whether it is in the set."""
        return numpy.asarray(self.bits[keys >> 3] >> (keys & 7).astype(numpy.uint8) & 1, bool)
