"""Ctrl-C on trio: where KeyboardInterrupt must not be raised, because it would leave something half done.

trio raises it in whatever runs, unless that is protected; then it raises it at the main task's next
checkpoint. Code that opens and closes nurseries, or that serves other tasks, is protected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def protect_from_interrupts(*functions: Callable[..., Any]) -> None:
    """Have trio protect these functions and all that they call; does nothing where trio is not imported.

    A decorator would have to import trio, which programs on asyncio do not need.
    """
    trio = sys.modules.get("trio")
    if trio is not None:
        for function in functions:
            trio.lowlevel.enable_ki_protection(function)
