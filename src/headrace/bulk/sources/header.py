"""The names of columns in a header."""

from __future__ import annotations

from collections.abc import Sequence

from headrace._support.text import quoted
from headrace.errors import InputError


def checked_columns(names: Sequence[str], where: str) -> list[str]:
    """The names of columns without nameless ones at the end, as spreadsheets write them.

    Raises:
        InputError: Two names are the same; the message begins with ``where``.
    """
    while len(names) > 1 and not names[-1].strip():
        names = names[:-1]
    places: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if name in places:
            if not name.strip():
                raise InputError(
                    f"{where}: columns {places[name]} and {place} have no name; give each a name"
                )
            raise InputError(
                f"{where}: columns {places[name]} and {place} have the same name {quoted(name)}; rename one"
            )
        places[name] = place
    return list(names)
