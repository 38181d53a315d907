"""Chooses the display of a run: by what the caller asks for, and by where the program runs."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from headrace.bulk.progress.callback import ProgressCallback
from headrace.bulk.progress.display import Display
from headrace.bulk.progress.notebook_widget import NotebookWidget
from headrace.bulk.progress.plain_lines import PlainLines
from headrace.errors import SettingsError

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot

Progress: TypeAlias = "Callable[[RunSnapshot], object] | Literal['auto'] | None"
"""A function that gets the snapshot of the run, "auto", or None for no display."""

_DUMB_TERMINALS = ("dumb", "unknown")


def display_for(progress: Progress) -> Display | None:
    """The display that the caller asks for; None for none.

    Raises:
        SettingsError: ``progress`` is something else.
    """
    if progress is None:
        return None
    if isinstance(progress, str) and progress == "auto":
        return _automatic_display()
    if callable(progress) and not _is_async(progress):
        return ProgressCallback(progress)
    kind = "an async function" if _is_async(progress) else repr(progress)
    shown = kind if len(kind) <= 60 else f"{kind[:59]}…"
    raise SettingsError(f'progress=: must be a function that is not async, "auto" or None, not {shown}')


def has_bar() -> bool:
    """Whether stderr is a terminal that can show a bar, and rich is installed."""
    return (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "").lower() not in _DUMB_TERMINALS
        and importlib.util.find_spec("rich") is not None
    )


def _automatic_display() -> Display:
    if (show_output := _notebook_output()) is not None:
        return NotebookWidget(show_output)
    if has_bar():
        from headrace.bulk.progress.terminal_bar import TerminalBar

        return TerminalBar()
    return PlainLines()


def _notebook_output() -> Any:
    """IPython's ``display`` if the program is a notebook; None elsewhere, as in IPython at a terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return ipython.display.display if ipython is not None and hasattr(shell, "kernel") else None


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method, not whether there is one
    )
