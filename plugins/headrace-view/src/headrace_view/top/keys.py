"""Waits for a key at a terminal."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Wait = Callable[[float], str]
"""Waits some seconds, and returns the key that was pressed meanwhile; empty for none."""


@contextmanager
def pressed_keys() -> Iterator[Wait]:
    """Read keys without Enter from stdin while the block runs; without a terminal there are no keys."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal, termios.TCSADRAIN)  # Ctrl-C is still a signal

    def wait(seconds: float) -> str:
        ready, _, _ = select.select([terminal], [], [], seconds)
        if not ready:
            return ""
        key = os.read(terminal, 1)
        return key.decode("ascii", "replace") or "q"  # nothing: the terminal is gone

    try:
        yield wait
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""
