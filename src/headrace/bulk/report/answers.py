"""How the answers of a run are distributed, counted in constant memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

import attrs

from headrace._support.units import format_count

_MOST_VALUES = 50
_MOST_MEMBERS = 30
_LONGEST_VALUE = 100
"""Characters of a value that is counted by itself."""

_ENDS = [size * 10**power for power in range(9) for size in (1, 2, 5)]
"""The largest lengths of the classes of lengths: 1, 2, 5, 10, 20, …"""


@attrs.frozen
class Distribution:
    """One table of the page.

    Attributes:
        member: The member of the answers; None for whole answers.
        counts: Values or lengths as text, with their numbers.
        values: What the rows can be filtered by, in the order of ``counts``; empty for lengths.
        unit: What is counted: "value", "characters", "entries" or "vectors".
        note: A sentence about numbers or vectors, of which there are too many to count each; else empty.
    """

    member: str | None
    counts: list[tuple[str, int]]
    values: list[Any]
    unit: str
    note: str = ""


@attrs.define
class _Counts:
    """The values of all answers, or of one of their members."""

    fixed: bool = False
    number: int = 0
    values: Counter[tuple[str, Any]] | None = attrs.field(factory=Counter)
    characters: Counter[int] = attrs.field(factory=Counter)
    entries: Counter[int] = attrs.field(factory=Counter)
    numbers: int = 0
    total: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def add(self, value: Any) -> None:
        self.number += 1
        if isinstance(value, str):
            self.characters[bisect_left(_ENDS, len(value)) if value else -1] += 1
        elif isinstance(value, list):
            self.entries[bisect_left(_ENDS, len(value)) if value else -1] += 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.low = min(self.low, value) if self.numbers else value
            self.high = max(self.high, value) if self.numbers else value
            self.numbers += 1
            self.total += value
        if self.values is not None:
            if isinstance(value, list | dict) or (isinstance(value, str) and len(value) > _LONGEST_VALUE):
                self.values = None
                return
            self.values[type(value).__name__, value] += 1  # true is not 1
            if len(self.values) > _MOST_VALUES:
                self.values = None

    def view(self, member: str | None) -> Distribution | None:
        """The table; None if there is nothing to show, as for objects in objects."""
        values = self.values
        if values and (self.fixed or 2 * len(values) <= self.number or self._are_flags(values)):
            common = values.most_common()
            shown = [(_shown(value), count) for (_, value), count in common]
            return Distribution(member, shown, [value for (_, value), _ in common], "value")
        if self.characters:
            return Distribution(member, _classes(self.characters), [], "characters")
        if self.entries:
            return Distribution(member, _classes(self.entries), [], "entries")
        if self.numbers:
            mean = self.total / self.numbers
            note = f"{self.numbers:,} numbers from {self.low:,g} to {self.high:,g}, mean {mean:,.4g}."
            return Distribution(member, [], [], "value", note)
        return None

    @staticmethod
    def _are_flags(values: Counter[tuple[str, Any]]) -> bool:
        return {kind for kind, _ in values} <= {"bool", "NoneType"}


@attrs.define
class _VectorCounts:
    """The embeddings of a run, by their lengths."""

    number: int = 0
    shortest: int = 0
    longest: int = 0

    def add(self, length: int) -> None:
        self.shortest = min(self.shortest, length) if self.number else length
        self.longest = max(self.longest, length)
        self.number += 1

    def view(self) -> Distribution:
        lengths = "" if self.shortest == self.longest else f"{self.shortest:,} to "
        note = f"{format_count(self.number, 'vector')} of {lengths}{format_count(self.longest, 'number')}."
        return Distribution(None, [], [], "vectors", note)


class AnswerDistribution:
    """Counts the answers of a run: whole ones if they are texts, else each of their members."""

    def __init__(self) -> None:
        self._whole = _Counts()
        self._members: dict[str, _Counts] = {}
        self._vectors = _VectorCounts()

    def add(self, answer: Any, *, fixed: bool) -> None:
        """Add an answer; ``fixed`` if it is one of some choices, so that even rare ones are counted."""
        if not isinstance(answer, dict):
            self._whole.fixed = self._whole.fixed or fixed
            self._whole.add(answer)
            return
        for name, value in answer.items():
            if name in self._members or len(self._members) < _MOST_MEMBERS:
                self._members.setdefault(name, _Counts()).add(value)

    def add_vector(self, length: int) -> None:
        """Add an embedding of so many numbers."""
        self._vectors.add(length)

    def views(self) -> list[Distribution]:
        """The tables, that of whole answers first."""
        vectors = [self._vectors.view()] if self._vectors.number else []
        counts = [(None, self._whole), *self._members.items()]
        return vectors + [found for name, each in counts if (found := each.view(name)) is not None]


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return "(empty)" if value == "" else str(value)


def _classes(lengths: Counter[int]) -> list[tuple[str, int]]:
    return [(_class_name(place), count) for place, count in sorted(lengths.items())]


def _class_name(place: int) -> str:
    if place < 0:
        return "0"
    if place == len(_ENDS):
        return f"over {_ENDS[-1]:,}"
    first = _ENDS[place - 1] + 1 if place else 1
    return f"{first:,}" if first == _ENDS[place] else f"{first:,} to {_ENDS[place]:,}"
