"""Sums of the notes of several calls, for a row that has several."""

from __future__ import annotations

from decimal import Decimal

from headrace.bulk.output_line import LineNotes, finite_sum


def add_notes(total: LineNotes, notes: LineNotes) -> None:
    """Add the attempts, seconds, tokens and costs of a call to those of its row."""
    total.attempts += notes.attempts
    total.elapsed = round(total.elapsed + notes.elapsed, 6)
    total.prompt_tokens += notes.prompt_tokens
    total.completion_tokens += notes.completion_tokens
    total.cost = _sum(total.cost, notes.cost)
    total.possible_cost = _sum(total.possible_cost, notes.possible_cost)


def spent_in(notes: LineNotes) -> Decimal:
    """The cost in USD, including the maximum for attempts of unknown cost."""
    return finite_sum(notes.cost, notes.possible_cost)


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first if second is None else first + second
