"""The snapshot of a run in few words, for a bar or a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace._support.text import shortened
from headrace._support.units import format_duration, format_usd

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot


def items_done(run: RunSnapshot) -> str:
    """How many items are done, of how many; ``+`` if the input has more."""
    return f"{run.done:,}/{run.total:,}{'' if run.counted else '+'}"


def activity(run: RunSnapshot) -> str:
    """Rate, failures, retries, calls in flight, cost, and what an engine says of itself."""
    parts = [
        f"{run.rate:,.0f}/s",
        f"{run.failed_before + run.failed:,} failed",
        f"{run.retries:,} retries",
        f"{run.in_flight:,} in flight",
    ]
    if run.cost is not None:
        parts.append(format_usd(run.cost))
    if run.engine_status:
        parts.append(run.engine_status)
    return " · ".join(parts)


def time_left(run: RunSnapshot) -> str:
    """About how long the rest takes; empty if that is not known, or nothing is left."""
    return "" if run.time_left is None else f"{format_duration(run.time_left)} left"


def wait_reason(run: RunSnapshot) -> str:
    """Why nothing is sent, on one line; empty while calls are sent."""
    if not run.waiting:
        return ""
    circuit = "" if run.state == "paused" else next(iter(run.circuits.values()), "")
    return shortened(circuit or run.waiting)
