"""Text for messages: suggestions of known names, and foreign text made safe to show."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, or all known names.

    Args:
        name: The unknown name.
        known: The known names.
    """
    from difflib import get_close_matches  # not with `import headrace`, which needs no suggestions

    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def shown(content: bytes, limit: int = 200) -> str:
    """The start of a body, on one line, for an error message."""
    text = content[: limit * 4].decode("utf-8", "replace")[:limit]
    return repr(text) + ("…" if len(content) > len(text.encode()) else "")


def shortened(text: str, limit: int = 200) -> str:
    """The beginning of a foreign text, on one line, safe for a terminal.

    Args:
        text: The text.
        limit: The most characters.
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def printable(text: str) -> str:
    """Foreign text made safe for a terminal: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1]
        for character in text
    )
