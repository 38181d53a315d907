"""Which answers of a bulk run fail because of the way they ended.

A refusal and an answer that a content filter stopped are not what the prompt asks for, so they fail unless
``fail_on=`` says otherwise. An answer that is cut off may still be useful, so it is kept and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, TypeAlias

from headrace._support.text import shortened
from headrace.errors import InputError

FAIL_ON_NAMES = ("length", "content_filter", "refusal")
"""The finish reasons that can make an item fail, as `finish_reason_of` names them."""

DEFAULT_FAIL_ON: frozenset[str] = frozenset({"content_filter", "refusal"})

FailOn: TypeAlias = str | Iterable[str]
"""Names of finish reasons, or a text with commas between them; "none" or nothing for no failure."""


def parse_fail_on(fail_on: FailOn) -> Set[str]:
    """The finish reasons in ``fail_on=``.

    Raises:
        InputError: A name is unknown, or "none" is not alone.
    """
    given = fail_on.split(",") if isinstance(fail_on, str) else fail_on
    names: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(name, str) for name in names):
        known = ", ".join(FAIL_ON_NAMES)
        raise InputError(f"fail_on={shortened(repr(fail_on), 80)}: must be none, or some of {known}")
    found = [name.strip() for name in names]
    if found == ["none"]:
        return frozenset()
    if "none" in found:
        raise InputError(f"fail_on={','.join(found)!r}: none must be alone; leave it or the others out")
    for name in set(found).difference(FAIL_ON_NAMES):
        raise InputError(f"fail_on={name!r}: must be none, or some of {', '.join(FAIL_ON_NAMES)}")
    return frozenset(found)
