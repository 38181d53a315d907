"""Which of several given answers a text is."""

from __future__ import annotations

import re
from collections.abc import Sequence

_AROUND_A_WORD = " \t\r\n\"'`*.!,;:„“”»«\ufeff"
_SET_APART = re.compile(
    r"\*\*(.+?)\*\*|`([^`\n]+)`|\"([^\"\n]+)\"|“([^”\n]+)”|„([^“\n]+)“|:[ \t]*([^:\n]+)$", re.MULTILINE
)


def normalize_choice(text: str) -> str:
    """A text without case and without what models put around a word."""
    return text.strip(_AROUND_A_WORD).casefold()


def match_choice(choices: Sequence[str], text: str) -> str | None:
    """The choice that a text makes, None where it makes none or several.

    It may stand alone, alone on a line, after a colon, in bold, in code or in quotation marks. A choice in
    the midst of a sentence does not count: the sentence may deny it.
    """
    by_plain = {normalize_choice(choice): choice for choice in choices}
    whole = by_plain.get(normalize_choice(text))
    if whole is not None:
        return whole
    parts = [line for line in text.splitlines() if not line.lstrip().startswith("```")]
    parts += [part for groups in _SET_APART.findall(text) for part in groups if part]
    found = {by_plain[each] for each in map(normalize_choice, parts) if each in by_plain}
    return found.pop() if len(found) == 1 else None
