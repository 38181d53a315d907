"""Text for messages: suggestions of known names, and foreign text made safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LONGEST_NAME = 80
_ALSO_NAMED = 2
_LONGEST_LIST = 1000
"""Characters of a list of names."""


def quoted(text: object, limit: int = _LONGEST_NAME) -> str:
    """Foreign text for a message: in quotes, on one line, escaped, and cut after ``limit`` characters."""
    text = str(text)
    return repr(text[:limit]) + ("…" if len(text) > limit else "")


def listed(names: Iterable[str]) -> str:
    """Names separated by commas: escaped, blank ones in quotes, and at most a thousand characters.

    The rest is only counted.
    """
    shown: list[str] = []
    left, more = _LONGEST_LIST, 0
    for name in names:
        text = printable(" ".join(name[: _LONGEST_NAME + 1].split())) or repr(name[:_LONGEST_NAME])
        text = text if len(name) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
        left -= len(text) + 2
        if left < 0 or more:
            more += 1
        else:
            shown.append(text)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def also_named(ids: Sequence[str]) -> str:
    """Further ids for a message that names the first one: two of them, and the number of the rest."""
    if not ids:
        return ""
    names = [quoted(id) for id in ids[:_ALSO_NAMED]]
    if len(ids) > _ALSO_NAMED:
        names.append(f"{len(ids) - _ALSO_NAMED:,} more")
    return f" (also {', '.join(names)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, or the known names.

    Args:
        name: The unknown name.
        known: The known names.
    """
    from difflib import get_close_matches  # not with `import headrace`, which needs no suggestions

    known = sorted(known)
    # Comparing long texts takes time, and no one mistypes them.
    close = get_close_matches(name[:200], [each for each in known if len(each) <= 200], n=1)
    return f"did you mean {quoted(close[0])}?" if close else f"known: {listed(known)}"


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
