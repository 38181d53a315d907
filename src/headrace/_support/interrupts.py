"""Ctrl-C on trio: where KeyboardInterrupt must not be raised, because it would leave something half done.

trio raises it in whatever runs, unless that is protected; then it raises it at the main task's next
checkpoint. Protected is what opens and closes nurseries, starts tasks, serves other tasks, or makes a call:
a call that broke off between two lines could keep its token, or leave half an answer in a connection.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, SimpleNamespace
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_codes: set[CodeType] = set()


def uninterrupted(function: F) -> F:
    """Mark a function that trio is to protect, with all that it calls; see `protect_from_interrupts`."""
    _codes.add(function.__code__)  # and not the function, which may be a client's
    return function


def protect_from_interrupts() -> None:
    """Have trio protect what is `uninterrupted`; does nothing where trio is not imported.

    Called when a client opens: the decorator cannot do it, because it would have to import trio, which
    programs on asyncio do not need.
    """
    trio = sys.modules.get("trio")
    if trio is not None:
        while _codes:
            trio.lowlevel.enable_ki_protection(SimpleNamespace(__code__=_codes.pop()))
