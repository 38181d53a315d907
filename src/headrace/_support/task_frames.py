"""The frames of suspended tasks: what a coroutine awaits."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any


def frames_of(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of everything that it awaits, outermost first."""
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is None:
            return
        yield frame
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
