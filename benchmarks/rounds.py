"""Measurements in turn, round by round, and what they say: medians, and targets met or not.

The speed of a shared machine changes from minute to minute. So everybody is measured in each round, and what
is compared are the figures of one round; of these ratios the median counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.processes import FailedRunError

Figures = dict[str, float]


class Entry(NamedTuple):
    """Who is measured under which load, on which event loop; all three as they stand in the tables."""

    load: str
    name: str
    loop: str


Round = dict[Entry, Figures]


class Target(NamedTuple):
    """What is asked of a figure: of itself, or compared with the same figure of somebody else.

    ``figure`` of ``ours`` is divided by that of ``theirs`` (or by a number), or with ``minus`` the other is
    taken away from it. The result is to be at least ``least``, or at most ``most``, in ``unit``.
    """

    text: str
    figure: str
    ours: Entry
    theirs: Entry | float = 1.0
    minus: bool = False
    least: float | None = None
    most: float | None = None
    unit: str = "×"

    def value(self, measured: Round) -> float | None:
        """What it is in a round; None where one of the two was not measured."""
        theirs = self.theirs
        if self.ours not in measured or (isinstance(theirs, Entry) and theirs not in measured):
            return None
        other = measured[theirs][self.figure] if isinstance(theirs, Entry) else theirs
        own = measured[self.ours][self.figure]
        return own - other if self.minus else own / other

    def verdict(self, rounds: Iterable[Round]) -> dict[str, Any] | None:
        """The median over the rounds, and whether it is enough; None where there is no figure."""
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


def in_turn(
    entries: Sequence[Entry],
    measure: Callable[[Entry], Figures],
    repeats: int,
    once: Callable[[Entry], bool] = lambda entry: False,
) -> tuple[list[Round], dict[Entry, str]]:
    """Measure everybody, ``repeats`` times; returns the rounds, and why somebody did not finish.

    Who fails is not tried again. Who takes too long to be repeated is measured ``once``; the figures count
    for all rounds.
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
            except FailedRunError as error:
                failures[entry] = str(error)
            said = failures.get(entry) or shown(figures[entry])
            who = ", ".join(filter(None, (entry.name, entry.loop)))
            print(f"round {number}: {entry.load}: {who}: {said}", flush=True)
        rounds.append(figures)
    return [{entry: each[entry] for entry in each if entry not in failures} for each in rounds], failures


def shown(figures: Figures) -> str:
    """The first few figures, for who waits."""
    return ", ".join(f"{name} {value:,.1f}" for name, value in list(figures.items())[:4])


def medians(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Everybody's medians over the rounds."""
    return [
        entry._asdict()
        | {
            figure: round(statistics.median(each[entry][figure] for each in rounds), 2)
            for figure in rounds[0][entry]
        }
        for entry in rounds[0]
    ]
