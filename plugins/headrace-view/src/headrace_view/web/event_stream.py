"""Server-sent events of one page: what has changed since the event before, and not too often."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from headrace_view.web.documents import encode_json

_FIGURES, _CHARTS = (1.0, 5.0), (5.0, 20.0)
"""The least and the most seconds between two events with figures, and between two with charts."""

_TIMES_COST = 40
"""The pause after an event is so many times longer than it took to make: that takes long if there is much to
draw, or if the machine is busy."""

_COMMENT_AFTER = 60
"""Looks without a change, after which a comment shows that the connection works."""

_PARTS = ("charts", "runs")
"""Fields of which only the members that have changed are sent; a member never goes away."""


class Looked(NamedTuple):
    """What a look has seen.

    Attributes:
        state: What a person is told at once if it has changed.
        numbers: What may be told a little later if it has changed.
        rows: What the charts are drawn from; they are drawn anew only if it has changed.
        figures: Makes the figures.
        charts: Draws the charts, as HTML by name.
    """

    state: Any
    numbers: Any
    rows: Any
    figures: Callable[[], dict[str, Any]]
    charts: Callable[[], Mapping[str, str]]


async def stream_events(look: Callable[[], Looked], every: float) -> AsyncIterator[bytes]:
    """The events of a page, until its connection is closed.

    The first event has all fields, a later one those that have changed. "at_once" says whether a person is to
    be told at once.

    Args:
        look: Looks at the runs, in a worker thread.
        every: Seconds between two looks.
    """
    known: dict[str, Any] = {}
    told: Looked | None = None
    drawn: Any = None
    figures_at = charts_at = 0.0
    unchanged = 0
    while True:
        seen, now = await anyio.to_thread.run_sync(look), anyio.current_time()
        is_new = told is None or seen.state != told.state
        has_figures = is_new or (now >= figures_at and told is not None and seen.numbers != told.numbers)
        has_charts = is_new or (now >= charts_at and seen.rows != drawn)
        unchanged = 0 if has_figures or has_charts else unchanged + 1
        if not unchanged:
            made = {"at_once": is_new, **await anyio.to_thread.run_sync(seen.figures)}
            told, figures_at = seen, _pause_until(now, _FIGURES)
            if has_charts:
                made["charts"] = await anyio.to_thread.run_sync(seen.charts)
                drawn, charts_at = seen.rows, _pause_until(now, _CHARTS)
            changed = _changes(known, made)
            known |= made
            yield b"data: " + encode_json(changed) + b"\n\n"
        elif unchanged % _COMMENT_AFTER == 0:
            yield b": nothing new\n\n"
        await anyio.sleep(every)


def _pause_until(began: float, bounds: tuple[float, float]) -> float:
    """When the next event may come, after one that has been made since ``began``."""
    (least, most), now = bounds, anyio.current_time()
    return now + min(max(least, _TIMES_COST * (now - began)), most)


def _changes(known: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the page does not know yet."""
    changed = {name: value for name, value in made.items() if name not in known or known[name] != value}
    for name in changed.keys() & _PARTS:
        before = known.get(name, {})
        changed[name] = {key: each for key, each in made[name].items() if before.get(key) != each}
    return changed
