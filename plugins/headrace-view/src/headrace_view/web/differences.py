"""Marks where two answers differ, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TypeAlias

Ranges: TypeAlias = list[tuple[int, int]]
"""Begins and ends in a text, in characters as JavaScript counts them (UTF-16)."""

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_MOST_WORDS = 500
"""Words between the common beginning and the common end that are compared; more are all marked."""


def mark_differences(first: str, second: str) -> tuple[Ranges, Ranges]:
    """The parts of each text that are not in the other."""
    one, other = _WORD.findall(first), _WORD.findall(second)
    begin = _common(one, other)
    end = _common(one[begin:][::-1], other[begin:][::-1])
    middle = one[begin : len(one) - end], other[begin : len(other) - end]
    if max(map(len, middle)) > _MOST_WORDS:
        changes = [(0, len(middle[0]), 0, len(middle[1]))]
    else:
        found = SequenceMatcher(None, *middle, False).get_opcodes()
        changes = [places for kind, *places in found if kind != "equal"]  # type: ignore[misc]
    marks: tuple[Ranges, Ranges] = ([], [])
    for start, stop, other_start, other_stop in changes:
        _mark(marks[0], one, begin + start, begin + stop)
        _mark(marks[1], other, begin + other_start, begin + other_stop)
    return marks


def _common(one: list[str], other: list[str]) -> int:
    """How many words at the beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (word, its) in pairs if word != its), min(len(one), len(other)))


def _mark(ranges: Ranges, words: list[str], start: int, stop: int) -> None:
    if start < stop:
        ranges.append((_length(words[:start]), _length(words[:stop])))


def _length(words: list[str]) -> int:
    return len("".join(words).encode("utf-16-le", "surrogatepass")) // 2
