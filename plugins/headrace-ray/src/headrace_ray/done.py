"""Which items are done: a bit an item where keys are places in the input, else eight bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import attrs
import numpy

Array: TypeAlias = "numpy.ndarray[Any, Any]"


class Done(Protocol):
    """A set of keys; in Ray's object store the processes of a machine share it."""

    def __len__(self) -> int: ...
    def has(self, keys: Array, /) -> Array: ...


@attrs.frozen(eq=False)
class Keys:
    """Any keys, sorted."""

    keys: Array

    @classmethod
    def of(cls, found: Iterable[Array]) -> Keys:
        """Those that stand in some arrays, each once."""
        return cls(numpy.unique(numpy.concatenate([numpy.empty(0, numpy.uint64), *found])))

    def __len__(self) -> int:
        return len(self.keys)

    def has(self, keys: Array) -> Array:
        """Which of these are in it."""
        if not len(self.keys):
            return numpy.zeros(len(keys), bool)
        places = numpy.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        return numpy.asarray(self.keys[places] == keys)


@attrs.frozen(eq=False)
class Places:
    """Places below a number."""

    bits: Array

    @classmethod
    def of(cls, found: Iterable[Array], number: int) -> Places:
        """Those that stand in some arrays, less what is not below ``number``."""
        bits = numpy.zeros((number + 7) // 8, numpy.uint8)
        for places in found:
            places = places[places < number]
            numpy.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype(numpy.uint8))
        return cls(bits)

    def __len__(self) -> int:
        return int(numpy.bitwise_count(self.bits).sum())

    def has(self, keys: Array) -> Array:
        """Which of these are in it."""
        return numpy.asarray(self.bits[keys >> 3] >> (keys & 7).astype(numpy.uint8) & 1, bool)
