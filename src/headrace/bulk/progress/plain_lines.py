"""Progress as lines of text, for logs and for terminals without a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.bulk.progress.run_words import activity, items_done, time_left, wait_reason

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot


class PlainLines:
    """A line every five seconds; see `Display`.

    Args:
        print_line: Prints a line; None to print it on stderr.
        last: Whether one more line is printed at the end.
    """

    first: float = 5.0
    interval: float = 5.0

    def __init__(self, print_line: Callable[[str], None] | None = None, *, last: bool = True) -> None:
        self._print_line = print_line or _print_to_stderr
        self._last = last

    def show(self, run: RunSnapshot) -> None:
        """See `Display`."""
        why = wait_reason(run)
        parts = [items_done(run), activity(run), f"waiting: {why}" if why else time_left(run)]
        self._print_line(" · ".join(part for part in parts if part))

    def finish(self, run: RunSnapshot) -> None:
        """See `Display`."""
        if self._last:
            self.show(run)


def _print_to_stderr(line: str) -> None:
    """Print a line. A log that cannot be written, or no stderr at all, does not end a run."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)
