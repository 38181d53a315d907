"""The error of a group of commands for an unknown command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

import click


def fail_unknown_command(ctx: click.Context, name: str, known: Iterable[str]) -> NoReturn:
    """Exit with the nearest command, or with all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    ctx.fail(f"no such command {name!r}; {hint}")
