"""Ctrl-C: functions in which trio must not raise KeyboardInterrupt, and errors that hide one.

trio raises it in the code that runs, or at the main task's next checkpoint if that code is protected.
headrace protects functions that open or close nurseries, start tasks, serve other tasks, or make calls. A
call that is interrupted between two lines could keep its token, or leave half a response in its connection.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, SimpleNamespace
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_codes: set[CodeType] = set()


def uninterrupted(function: F) -> F:
    """Mark a function that trio protects, including all that it calls; see `protect_from_interrupts`."""
    _codes.add(function.__code__)  # the function itself could keep a client alive
    return function


def protect_from_interrupts() -> None:
    """Have trio protect the functions marked `uninterrupted`; does nothing if trio is not imported.

    A client calls this when it opens. The decorator cannot do it, because it would have to import trio also
    for programs on asyncio.
    """
    trio = sys.modules.get("trio")
    if trio is not None:
        while _codes:
            trio.lowlevel.enable_ki_protection(SimpleNamespace(__code__=_codes.pop()))


def hides_interrupt(error: BaseException) -> bool:
    """Whether an error was raised in place of a KeyboardInterrupt.

    Up to Python 3.11, one in ``__set_name__`` is raised as the cause of a RuntimeError, so it can come as any
    error from the import of a module with classes.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__
    return cause is not None
