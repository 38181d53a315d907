"""Marks where two answers differ, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TypeAlias

Ranges: TypeAlias = list[tuple[int, int]]
"""Begins and ends in a text, in characters as JavaScript counts them (UTF-16)."""

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_MOST_WORDS = 400
"""Words of a text that are compared; the time grows with their product."""


def mark_differences(first: str, second: str) -> tuple[Ranges, Ranges]:
    """The parts of each text that are not in the other."""
    one, other = _WORD.findall(first)[:_MOST_WORDS], _WORD.findall(second)[:_MOST_WORDS]
    marks: tuple[Ranges, Ranges] = ([], [])
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, one, other, False).get_opcodes():
        if kind != "equal":
            for words, (start, stop), ranges in (
                (one, (begin, end), marks[0]),
                (other, (other_begin, other_end), marks[1]),
            ):
                if start < stop:
                    ranges.append((_length(words[:start]), _length(words[:stop])))
    return marks


def _length(words: list[str]) -> int:
    return len("".join(words).encode("utf-16-le")) // 2
