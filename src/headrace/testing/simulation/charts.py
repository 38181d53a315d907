"""The charts of a simulation, as SVG, with numbers of the real system."""

from __future__ import annotations

from collections.abc import Callable

from headrace._support.units import format_duration
from headrace.pages import Plot, TimeAxis, count_ticks, latency_scale
from headrace.pages.scales import time_label
from headrace.testing.simulation.metrics import CIRCUIT, Interval
from headrace.testing.simulation.run import SimulationResult, VariantResult
from headrace.testing.simulation.summary_text import windows
from headrace.testing.simulation.tables import coarsen, failures

NOT_SENT = frozenset({"circuit_open", "budget_exceeded"})
"""Failures of calls that policies rejected before they reached the endpoint."""

_COLOURS = 6
"""The number of variants that have different colours."""

_MOST_INTERVALS = 120
_STRIP = 6
_PER = ((1, "per second"), (60, "per minute"), (3600, "per hour"))
_FEW = 4


class Charts:
    """The charts of one result, with the same time axis and, for all variants, the same scale.

    Each method returns a chart and the unit of its values.
    """

    def __init__(self, result: SimulationResult) -> None:
        self._scenario = result.scenario
        self._drawn = {run.variant.name: coarsen(run.intervals, _MOST_INTERVALS) for run in result.runs}
        self._all = [interval for drawn in self._drawn.values() for interval in drawn]
        # A map that ends at once, for example because all calls are rejected, has no length.
        self._end = max(run.intervals[-1].end for run in result.runs) or result.scenario.width
        self._axis = TimeAxis([(0, self._end)])

    @property
    def colours(self) -> list[int]:
        """The number of each variant's colour."""
        return [number % _COLOURS for number in range(len(self._drawn))]

    def calls(self, run: VariantResult) -> tuple[str, str]:
        """The results of a variant's calls, by the time of their end: stacked bars, and the circuit above."""
        many, total = self._scenario.stands_for, run.total
        highest = max(self._rate(each.served + each.failed, each) for each in self._all)
        seconds, unit = _per(highest)
        plot = self._plot(
            f"Calls of {run.variant.name or 'the run'} over {format_duration(self._end)}: "
            f"{total.served * many:,} served; failed: {failures(total, many) or 'none'}.",
            highest * seconds,
        )
        for each in self._drawn[run.variant.name]:
            begin, end = each.start / self._end, each.end / self._end
            refused = not_sent(each)
            counts = {"failed": each.failed - refused, "refused": refused, "done": each.served}
            parts = [(kind, self._rate(count, each) * seconds) for kind, count in counts.items()]
            when = f"from {time_label(each.start, self._axis.unit)}"
            failed = failures(each, many) or "none failed"
            plot.bar(begin, end, parts, f"{when}: {each.served * many:,} served, {failed}")
            if each.state != CIRCUIT[0]:
                plot.band(begin, end, each.state, f"{when}: circuit {each.state}", _STRIP)
        return self._finished(plot), unit

    def attempts(self) -> tuple[str, str]:
        """Attempts at the endpoint over time, one line per variant."""
        seconds, unit = _per(max(self._rate(each.attempts, each) for each in self._all))
        return self._curves("Attempts", unit, lambda each: self._rate(each.attempts, each) * seconds)

    def level(self, name: str) -> tuple[str, str]:
        """A level over time, one line per variant."""
        many = self._scenario.stands_for
        return self._curves(name.replace("_", " "), "", lambda each: each.level(name) * many)

    def latency(self) -> tuple[str, str]:
        """The 95th percentile of the latencies of served calls over time, one line per variant."""
        highest = max(each.latencies.percentile(95) for each in self._all)
        factor, unit = latency_scale(highest)

        def p95(interval: Interval) -> float | None:
            latencies = interval.latencies
            return latencies.percentile(95) * factor if latencies.count else None

        return self._curves("95th percentile of latencies,", unit, p95)

    def _rate(self, count: int, interval: Interval) -> float:
        return count * self._scenario.stands_for / interval.seconds if interval.seconds else 0.0

    def _curves(self, name: str, unit: str, measure: Callable[[Interval], float | None]) -> tuple[str, str]:
        lines = {variant: [measure(each) for each in drawn] for variant, drawn in self._drawn.items()}
        highest = {
            variant: max((value for value in line if value is not None), default=0.0)
            for variant, line in lines.items()
        }
        text = "; ".join(f"{variant or 'the run'} at most {most:,.0f}" for variant, most in highest.items())
        plot = self._plot(f"{name} {unit} over {format_duration(self._end)}: {text}.", max(highest.values()))
        for number, (variant, line) in enumerate(lines.items()):
            middles = [(each.start + each.end) / 2 / self._end for each in self._drawn[variant]]
            plot.curve(zip(middles, line, strict=True), f"v{number % _COLOURS}")
        return self._finished(plot), unit

    def _plot(self, label: str, highest: float) -> Plot:
        plot = Plot(label, count_ticks(max(1.0, highest)), above=_STRIP + 4)
        for begin, end, text in windows(self._scenario):
            if begin < self._end:
                plot.band(begin / self._end, min(end, self._end) / self._end, "window", text)
        return plot

    def _finished(self, plot: Plot) -> str:
        self._axis.draw(plot, "time")
        return plot.svg()


def not_sent(interval: Interval) -> int:
    """Number of calls that policies rejected before they reached the endpoint."""
    return sum(interval.failures[kind] for kind in NOT_SENT)


def _per(highest: float) -> tuple[int, str]:
    """The shortest time unit in which the rate is at least `_FEW`, as seconds and as words."""
    return next((each for each in _PER if highest * each[0] >= _FEW), _PER[-1])
