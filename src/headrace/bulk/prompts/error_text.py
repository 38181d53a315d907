"""The text of an error that foreign code raised, made safe to show."""

from __future__ import annotations

from headrace._support.text import printable

_LONGEST = 300
"""Characters. Such a text may quote a whole row."""


def one_line(error: object) -> str:
    """The text on one line, bounded, with control characters escaped."""
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def type_and_text(error: Exception) -> str:
    """The type of an error, and its text if it has one."""
    return f"{type(error).__name__}: {one_line(error)}" if str(error).strip() else type(error).__name__
