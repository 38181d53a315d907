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
"""Levels over time: calls in flight, attempts that wait at the endpoint, and attempts that it serves."""

CIRCUIT = ("closed", "half_open", "open")


@attrs.define(eq=False)
class Interval:
    """The metrics of one interval; counts are numbers of simulated calls.

    Attributes:
        start: Start of the interval, in seconds since the start of the simulation.
        end: End of the interval, in seconds.
        offered: Calls that began.
        served: Calls that succeeded.
        failures: Calls that failed, for each error code.
        attempts: Attempts that reached the endpoint.
        retries: Attempts that were not the first of their call.
        limited: Attempts that got a 429 because of a rate limit or a fault.
        waits: Sum of the durations of all calls that ended, in seconds.
        latencies: Durations of the calls that succeeded.
        areas: For each level, its integral over time, in seconds.
        circuit: Seconds in each state of the circuit, as the sum over all processes.
        cost: Cost in USD; None if nothing had a price.
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
        """The length of the interval, in seconds."""
        return self.end - self.start

    @property
    def failed(self) -> int:
        """Calls that ended with an error."""
        return self.failures.total()

    def level(self, name: str) -> float:
        """The mean of a level, one of "in_flight", "queue" and "busy"."""
        return self.areas[name] / self.seconds if self.seconds else 0.0

    @property
    def state(self) -> str:
        """The worst state of the circuit in any process: "closed", "half_open" or "open"."""
        return next((state for state in reversed(CIRCUIT) if self.circuit[state] > 0), CIRCUIT[0])

    def merge(self, other: Interval) -> None:
        """Add another interval to this one."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.offered += other.offered
        self.served += other.served
        self.failures += other.failures
        self.attempts += other.attempts
        self.retries += other.retries
        self.limited += other.limited
        self.waits += other.waits
        self.latencies.merge(other.latencies)
        for totals, others in ((self.areas, other.areas), (self.circuit, other.circuit)):
            for name, value in others.items():
                totals[name] += value
        if other.cost is not None:
            self.cost = other.cost + (self.cost or 0)


def merged(intervals: Sequence[Interval]) -> Interval:
    """The sum of consecutive intervals."""
    total = Interval(intervals[0].start, intervals[0].start)
    for interval in intervals:
        total.merge(interval)
    return total


@attrs.define(eq=False)
class ProcessMetrics:
    """The metrics of one process. It is an observer of its client, to see the state of its circuit.

    Attributes:
        offered: Calls that began.
        served: Calls that succeeded.
        failed: Calls that failed.
        attempts: Attempts that reached the endpoint.
        first: Time of the first attempt, in seconds; None: there was no attempt.
        state: State of the circuit: "closed", "half_open" or "open".
    """

    name = "recorder"

    recorder: MetricsRecorder = attrs.field(repr=False)
    offered: int = 0
    served: int = 0
    failed: int = 0
    attempts: int = 0
    first: float | None = None
    state: str = CIRCUIT[0]

    def notify(self, event: Event) -> None:
        """Record the circuit's state."""
        if event.name == "circuit":
            self.recorder.circuit(self.state, event.data["state"], event.call.now())
            self.state = event.data["state"]


class MetricsRecorder:
    """Records metrics in intervals of equal ``width``; times are seconds since the start, in order.

    ``process_metrics`` has the metrics of each process.
    """

    def __init__(self, width: float, processes: int) -> None:
        self.process_metrics: list[ProcessMetrics] = [ProcessMetrics(self) for _ in range(processes)]
        self._width = width
        self.intervals: list[Interval] = [Interval(0.0, width)]
        self._now = 0.0
        self._levels = dict.fromkeys(LEVELS, 0)
        self._circuits = dict.fromkeys(CIRCUIT, 0) | {CIRCUIT[0]: processes}
        self.highest: dict[str, int] = dict.fromkeys(LEVELS, 0)

    def at(self, now: float) -> Interval:
        """The interval at this time, which is the last one. Levels until now are added to the intervals."""
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
        """Record a new level."""
        self.at(now)
        self._levels[name] = level
        if level > self.highest[name]:
            self.highest[name] = level

    def begin(self, process: int, now: float) -> None:
        """Record that a process begins a call."""
        self.at(now).offered += 1
        self.process_metrics[process].offered += 1
        self.set("in_flight", self._levels["in_flight"] + 1, now)

    def end(self, process: int, began: float, now: float, result: Reply | HeadraceError) -> None:
        """Record the end of a call that a process began at ``began``."""
        interval, part = self.at(now), self.process_metrics[process]
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
        """Record an attempt of a process; ``number`` counts the attempts of its call from 1."""
        interval, part = self.at(now), self.process_metrics[process]
        interval.attempts += 1
        interval.retries += number > 1
        part.attempts += 1
        if part.first is None:
            part.first = now

    def limited(self, now: float) -> None:
        """Record a 429."""
        self.at(now).limited += 1

    def circuit(self, before: str, state: str, now: float) -> None:
        """Record that the circuit of a process changes its state."""
        self.at(now)
        self._circuits[before] -= 1
        self._circuits[state] += 1

    def close(self, now: float) -> list[Interval]:
        """End the last interval and return all of them."""
        last = self.at(now)
        last.end = now
        if now == last.start and len(self.intervals) > 1:
            self.intervals.pop()
            self.intervals[-1].merge(last)
        return self.intervals
