"""Metrics of a simulation: counts and levels over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import attrs

from headrace._support.histogram import LatencyHistogram
from headrace.calls import Event
from headrace.errors import HeadraceError
from headrace.replies import Reply

LEVELS = ("in_flight", "queue", "busy")
"""What is known at each moment: calls that are not over, attempts that wait at the endpoint, and those that
it works on."""

CIRCUIT = ("closed", "half_open", "open")


@attrs.define(eq=False)
class Interval:
    """What happened from ``start`` to ``end``, in seconds; counts are of simulated calls.

    ``offered`` calls began, ``served`` ended well and the ``failures`` with an error, by its code, after
    ``waits`` seconds in all; ``latencies`` are those of calls that were served. ``attempts`` came to the
    endpoint, ``retries`` of them not their call's first; ``limited`` of them got a 429. ``areas`` are levels
    times seconds; ``circuit`` the seconds in each state, of all processes; ``cost`` is in USD, None where
    nothing had a price.
    """

    start: float
    end: float
    offered: int = 0
    served: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)
    attempts: int = 0
    retries: int = 0
    limited: int = 0
    waits: float = 0.0
    latencies: LatencyHistogram = attrs.field(factory=LatencyHistogram, repr=False)
    areas: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(LEVELS, 0.0))
    circuit: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(CIRCUIT, 0.0))
    cost: Decimal | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @property
    def failed(self) -> int:
        """Calls that ended with an error."""
        return self.failures.total()

    def level(self, name: str) -> float:
        """The mean of a level."""
        return self.areas[name] / self.seconds if self.seconds else 0.0

    @property
    def state(self) -> str:
        """The worst state that the circuit had, in any process."""
        return next((state for state in reversed(CIRCUIT) if self.circuit[state] > 0), CIRCUIT[0])

    def merge(self, other: Interval) -> None:
        """Become the interval of both."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.offered += other.offered
        self.served += other.served
        self.failures += other.failures
        self.attempts += other.attempts
        self.retries += other.retries
        self.limited += other.limited
        self.waits += other.waits
        self.latencies.merge(other.latencies)
        for mine, others in ((self.areas, other.areas), (self.circuit, other.circuit)):
            for name, value in others.items():
                mine[name] += value
        if other.cost is not None:
            self.cost = other.cost + (self.cost or 0)


def merged(intervals: Sequence[Interval]) -> Interval:
    """One interval of several that follow each other."""
    whole = Interval(intervals[0].start, intervals[0].start)
    for interval in intervals:
        whole.merge(interval)
    return whole


@attrs.define(eq=False)
class Part:
    """What one process had of it: calls ``offered``, ``served`` and ``failed``, its ``attempts``, and the
    moment of the ``first`` of these, None where there was none.

    As an observer of its client it sees what its circuit does.
    """

    name = "recorder"

    recorder: Recorder = attrs.field(repr=False)
    offered: int = 0
    served: int = 0
    failed: int = 0
    attempts: int = 0
    first: float | None = None
    state: str = CIRCUIT[0]

    def notify(self, event: Event) -> None:
        """Take note of the circuit's state."""
        if event.name == "circuit":
            self.recorder.circuit(self.state, event.data["state"], event.call.now())
            self.state = event.data["state"]


class Recorder:
    """Counts into intervals of equal ``width``; times are seconds since the start and never go back.

    ``parts`` are those of the processes.
    """

    def __init__(self, width: float, processes: int) -> None:
        self.parts: list[Part] = [Part(self) for _ in range(processes)]
        self._width = width
        self.intervals: list[Interval] = [Interval(0.0, width)]
        self._now = 0.0
        self._levels = dict.fromkeys(LEVELS, 0)
        self._circuits = dict.fromkeys(CIRCUIT, 0) | {CIRCUIT[0]: processes}
        self.highest: dict[str, int] = dict.fromkeys(LEVELS, 0)

    def at(self, now: float) -> Interval:
        """The interval of this moment, the last so far; what was the case until now is added up."""
        if now > self._now:
            self._advance(now)
        return self.intervals[-1]

    def _advance(self, now: float) -> None:
        interval = self.intervals[-1]
        while now >= interval.end:
            self._add_up(interval, interval.end)
            interval = Interval(interval.end, (len(self.intervals) + 1) * self._width)
            self.intervals.append(interval)
        self._add_up(interval, now)

    def _add_up(self, interval: Interval, until: float) -> None:
        passed = until - self._now
        self._now = until
        for name, level in self._levels.items():
            if level:
                interval.areas[name] += level * passed
        for state, processes in self._circuits.items():
            interval.circuit[state] += processes * passed

    def set(self, name: str, level: int, now: float) -> None:
        """A level is so high from now on."""
        self.at(now)
        self._levels[name] = level
        if level > self.highest[name]:
            self.highest[name] = level

    def begin(self, process: int, now: float) -> None:
        """A process begins a call."""
        self.at(now).offered += 1
        self.parts[process].offered += 1
        self.set("in_flight", self._levels["in_flight"] + 1, now)

    def end(self, process: int, began: float, now: float, result: Reply | HeadraceError) -> None:
        """The call that a process began then is over."""
        interval, part = self.at(now), self.parts[process]
        self.set("in_flight", self._levels["in_flight"] - 1, now)
        interval.waits += now - began
        if isinstance(result, HeadraceError):
            interval.failures[getattr(result, "code", type(result).__name__)] += 1
            part.failed += 1
            return
        part.served += 1
        interval.served += 1
        interval.latencies.add(now - began)
        if result.cost is not None:
            interval.cost = result.cost if interval.cost is None else interval.cost + result.cost

    def attempt(self, process: int, number: int, now: float) -> None:
        """A call of a process makes its so-manieth attempt."""
        interval, part = self.at(now), self.parts[process]
        interval.attempts += 1
        interval.retries += number > 1
        part.attempts += 1
        if part.first is None:
            part.first = now

    def limited(self, now: float) -> None:
        """An attempt gets a 429."""
        self.at(now).limited += 1

    def circuit(self, before: str, state: str, now: float) -> None:
        """The circuit of a process changes its state."""
        self.at(now)
        self._circuits[before] -= 1
        self._circuits[state] += 1

    def close(self, now: float) -> list[Interval]:
        """The intervals, of which the last ends now."""
        last = self.at(now)
        last.end = now
        if now == last.start and len(self.intervals) > 1:
            self.intervals.pop()
            self.intervals[-1].merge(last)
        return self.intervals
