"""What the parts of a run are doing, in words: while a session follows them, and when it has left them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.plugins import format_count
from headrace_batch.part import Part, Stage


def describe_progress(parts: Iterable[Part]) -> str:
    """How far the parts of a session are; empty if it waits for none."""
    parts = list(parts)
    live = [part for part in parts if part.at_endpoint]
    unsent = sum(part.is_before_batch and part.outstanding > 0 for part in parts)
    fetched = [part for part in live if part.stage is Stage.ENDED and part.outstanding]
    words = []
    if live:
        finished, rows = sum(part.done for part in live), sum(part.rows for part in live)
        words.append(f"{batches(len(live))}, {finished:,}/{rows:,} finished there")
    if fetched:
        words.append(f"fetching the results of {len(fetched):,}")
    if unsent:
        words.append(f"{batches(unsent)} not created yet")
    return ", ".join(words)


def describe_going_on(parts: Iterable[Part]) -> str:
    """What goes on without the session; empty if nothing does."""
    live = [part for part in parts if part.at_endpoint]
    running = [part for part in live if part.stage is not Stage.ENDED]
    ended = [part for part in live if part.stage is Stage.ENDED]
    sentences = []
    if running:
        sentences.append(f"{_with_rows(running)} {'goes' if len(running) == 1 else 'go'} on at the endpoint.")
    if ended:
        where = "there" if running else "at the endpoint"
        sentences.append(f"{_with_rows(ended)} {'has' if len(ended) == 1 else 'have'} ended {where}.")
    return " ".join(sentences)


def describe_left(parts: Iterable[Part], out: Path) -> str:
    """As `describe_going_on`, and how to continue."""
    parts = list(parts)
    going_on = describe_going_on(parts)
    if not going_on:
        return ""
    again = "Run the same command again to fetch their results"
    if any(part.at_endpoint and part.stage is not Stage.ENDED for part in parts):
        again += f", or cancel them with: headrace batch cancel {shlex.quote(str(out))}"
    else:
        again += "."
    return f"{going_on} {again}"


def batches(number: int) -> str:
    """A number of batches."""
    return f"{number:,} batch{'' if number == 1 else 'es'}"


def _with_rows(parts: Sequence[Part]) -> str:
    rows = sum(part.outstanding or part.rows for part in parts)
    return f"{batches(len(parts))} with {format_count(rows, 'row')}"
