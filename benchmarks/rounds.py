"""Measurements in rounds, and their evaluation: medians and targets.

The speed of a shared machine changes from minute to minute. So each round measures all clients, and figures
are compared within one round. The median of these ratios counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.processes import MeasurementError

Figures = dict[str, float]


class Entry(NamedTuple):
    """A load, a client and an event loop, with the names in the tables."""

    load: str
    name: str
    loop: str


Round = dict[Entry, Figures]


class Target(NamedTuple):
    """A target for a figure, or for its ratio to the same figure of another entry.

    ``figure`` of ``ours`` is divided by that of ``theirs`` (or by a number); with ``minus``, the other value
    is subtracted. The result must be at least ``least`` or at most ``most``, in ``unit``.
    """

    text: str
    figure: str
    ours: Entry
    theirs: Entry | float = 1.0
    minus: bool = False
    least: float | None = None
    most: float | None = None
    unit: str = "×"

    def value(self, figures: Round) -> float | None:
        """The value in a round, or None if one of the two was not measured."""
        theirs = self.theirs
        if self.ours not in figures or (isinstance(theirs, Entry) and theirs not in figures):
            return None
        other = figures[theirs][self.figure] if isinstance(theirs, Entry) else theirs
        own = figures[self.ours][self.figure]
        return own - other if self.minus else own / other

    def verdict(self, rounds: Iterable[Round]) -> dict[str, Any] | None:
        """The median over the rounds and whether the target is met; None if there are no figures."""
        values = [value for each in rounds if (value := self.value(each)) is not None]
        if not values:
            return None
        median = statistics.median(values)
        enough = median >= self.least if self.least is not None else median <= (self.most or 0.0)
        return {
            "text": self.text,
            "load": self.ours.load,
            "ours": f"{self.ours.name}, {self.ours.loop}",
            "least": self.least,
            "most": self.most,
            "unit": self.unit,
            "median": round(median, 3),
            "lowest": round(min(values), 3),
            "highest": round(max(values), 3),
            "met": enough,
        }


def measure_rounds(
    entries: Sequence[Entry],
    measure: Callable[[Entry], Figures],
    repeats: int,
    once: Callable[[Entry], bool] = lambda entry: False,
) -> tuple[list[Round], dict[Entry, str]]:
    """Measure all entries ``repeats`` times; returns the rounds, and the errors of entries that failed.

    An entry that fails is not measured again. If ``once`` is true for an entry, it is measured only in the
    first round, and its figures count for all rounds.
    """
    rounds: list[Round] = []
    failures: dict[Entry, str] = {}
    for number in range(1, repeats + 1):
        figures: Round = {}
        for entry in entries:
            if entry in failures:
                continue
            if rounds and once(entry):
                figures[entry] = rounds[0][entry]
                continue
            try:
                figures[entry] = measure(entry)
            except MeasurementError as error:
                failures[entry] = str(error)
            message = failures.get(entry) or format_figures(figures[entry])
            client = ", ".join(filter(None, (entry.name, entry.loop)))
            print(f"round {number}: {entry.load}: {client}: {message}", flush=True)
        rounds.append(figures)
    return [{entry: each[entry] for entry in each if entry not in failures} for each in rounds], failures


def format_figures(figures: Figures) -> str:
    """The first few figures as text, to show progress."""
    return ", ".join(f"{name} {value:,.1f}" for name, value in list(figures.items())[:4])


def medians(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """The medians of all entries over the rounds."""
    return [
        entry._asdict()
        | {
            figure: round(statistics.median(each[entry][figure] for each in rounds), 2)
            for figure in rounds[0][entry]
        }
        for entry in rounds[0]
    ]
