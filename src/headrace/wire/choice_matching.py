"""Finds the choice that a model's answer names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_AROUND_A_WORD = " \t\r\n\"'`*.!,;:„“”»«\ufeff"
_MARKED_PART = re.compile(
    r"\*\*(.+?)\*\*|`([^`\n]+)`|\"([^\"\n]+)\"|“([^”\n]+)”|„([^“\n]+)“|:[ \t]*([^:\n]+)$", re.MULTILINE
)


def normalize_choice(text: str) -> str:
    """Return a text in lower case, without the quotes and punctuation that models put around a word."""
    return text.strip(_AROUND_A_WORD).casefold()


def match_choice(choices: Sequence[str], text: str) -> str | None:
    """Return the one choice that a text names, None if it names none or several.

    The choice may be the whole text or a whole line, follow a colon, or be in bold, in code or in quotation
    marks. A choice within a sentence does not count, because the sentence may negate it.
    """
    by_normalized = {normalize_choice(choice): choice for choice in choices}
    exact = by_normalized.get(normalize_choice(text))
    if exact is not None:
        return exact
    parts = [line for line in text.splitlines() if not line.lstrip().startswith("```")]
    parts += [part for groups in _MARKED_PART.findall(text) for part in groups if part]
    found = {by_normalized[part] for part in map(normalize_choice, parts) if part in by_normalized}
    return found.pop() if len(found) == 1 else None
