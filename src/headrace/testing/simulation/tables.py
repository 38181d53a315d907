"""The results as tables of text and as CSV, with numbers of the real system."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import IO, Any

import attrs

from headrace._support.units import format_duration, format_usd
from headrace.pages.scales import time_label, time_unit
from headrace.testing.simulation.metrics import CIRCUIT, LEVELS, Interval, merged
from headrace.testing.simulation.run import SimulationResult, VariantResult

PERCENTILES = (50, 95, 99)

_MOST_ROWS = 30


@attrs.frozen
class Table:
    """Rows of text under headings; the first and the last column are words, the others numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def overview(result: SimulationResult) -> Table:
    """One row per variant: the results of all its calls."""
    many = result.scenario.stands_for
    rows = []
    for run in result.runs:
        total = run.total
        rows.append(
            (
                run.variant.name or "all",
                f"{total.offered * many:,}",
                share(total.served, total.offered),
                share(total.failed, total.offered),
                f"{total.attempts / total.offered:.2f}" if total.offered else "-",
                *(_latency(total, percent) for percent in PERCENTILES),
                f"{run.highest['in_flight'] * many:,}",
                f"{run.highest['queue'] * many:,}",
                _money(total.cost, many),
                failures(total, many),
            )
        )
    headings = (
        *("variant", "calls", "served", "failed", "attempts/call"),
        *(f"p{percent}" for percent in PERCENTILES),
        *("most in flight", "longest queue", "cost", "failures"),
    )
    return Table(headings, tuple(rows))


def timeline(result: SimulationResult, run: VariantResult) -> Table:
    """One row per interval of a variant; calls and attempts are per second."""
    many = result.scenario.stands_for
    intervals = coarsen(run.intervals, _MOST_ROWS)
    unit = time_unit([0.0, intervals[-1].start])
    # Without a circuit there is no column for its state.
    circuit = any(interval.state != CIRCUIT[0] for interval in intervals)
    rows = []
    for each in intervals:
        counts = (each.offered, each.served, each.failed, each.attempts, each.retries)
        rows.append(
            (
                time_label(each.start, unit),
                *(f"{count * many / each.seconds:,.1f}" if each.seconds else "-" for count in counts),
                *(f"{each.level(name) * many:,.0f}" for name in LEVELS),
                _latency(each, 95),
                *((each.state.replace("_", " "),) if circuit else ()),
                _money(each.cost, many),
                failures(each, many),
            )
        )
    headings = (
        *(f"time {unit}", "offered/s", "served/s", "failed/s", "attempts/s", "retries/s"),
        *("in flight", "queue", "busy", "p95", *(("circuit",) if circuit else ()), "cost", "failures"),
    )
    return Table(headings, tuple(rows))


def write_csv(result: SimulationResult, file: IO[str]) -> None:
    """Write one row per variant and interval: counts, mean levels, latencies in seconds, cost in USD."""
    many = result.scenario.stands_for
    kinds = sorted({kind for run in result.runs for kind in run.total.failures})
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            *("variant", "start", "end", "offered", "served", "failed"),
            *(f"failed_{kind}" for kind in kinds),
            *("attempts", "retries", "limited", *LEVELS, "circuit"),
            *(f"p{percent}" for percent in PERCENTILES),
            "cost",
        ]
    )
    for run in result.runs:
        for each in run.intervals:
            counts = [each.offered, each.served, each.failed, *(each.failures[kind] for kind in kinds)]
            row: list[Any] = [run.variant.name, _plain(each.start), _plain(each.end)]
            row += [count * many for count in [*counts, each.attempts, each.retries, each.limited]]
            row += [_plain(each.level(name) * many) for name in LEVELS]
            row.append(each.state)
            known = each.latencies.count > 0
            row += [_plain(each.latencies.percentile(p)) if known else "" for p in PERCENTILES]
            row.append("" if each.cost is None else f"{each.cost * many:f}")
            writer.writerow(row)


def share(part: int, whole: int) -> str:
    """A share in percent; it is rounded to 0% or 100% only if it is exact."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.01), 99.99)
    return f"{percent:.2f}%".replace(".00%", "%")


def failures(interval: Interval, many: int) -> str:
    """The kinds of failures with their counts, the most frequent first."""
    kinds = sorted(interval.failures.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count * many:,} {kind}" for kind, count in kinds)


def coarsen(intervals: Sequence[Interval], most: int) -> list[Interval]:
    """The intervals, with neighbours merged until there are at most ``most``."""
    together = math.ceil(len(intervals) / most)
    return [merged(intervals[n : n + together]) for n in range(0, len(intervals), together)]


def _latency(interval: Interval, percent: float) -> str:
    return format_duration(interval.latencies.percentile(percent)) if interval.latencies.count else "-"


def _money(cost: Decimal | None, many: int) -> str:
    return "-" if cost is None else format_usd(cost * many)


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def notes(result: SimulationResult) -> Iterable[str]:
    """Notes about the numbers."""
    scenario = result.scenario
    if scenario.stands_for > 1:
        yield (
            f"Each simulated call stands for {scenario.stands_for:,}: load and endpoint are divided by it, "
            "counts and costs multiplied. Settings are not divided."
        )
    for run in result.runs:
        level, calls = run.littles_law
        name = f"{run.variant.name}: " if run.variant.name else ""
        yield (
            f"{name}{run.total.offered:,} calls simulated, policies {', '.join(run.policies) or 'none'}; "
            f"Little's law: {level * scenario.stands_for:,.2f} in flight on average; arrivals per second "
            f"times seconds per call: {calls * scenario.stands_for:,.2f}."
        )
        if scenario.processes > 1:
            yield f"{name}{_process_summary(run, scenario.stands_for)}"


def _process_summary(run: VariantResult, many: int) -> str:
    """How evenly the processes share the calls, and the latest first attempt of a process."""
    served = [part.served * many for part in run.process_metrics]
    firsts = [part.first for part in run.process_metrics if part.first is not None]
    summary = f"{len(served):,} processes, {min(served):,} to {max(served):,} calls served in each"
    if len(firsts) < len(served):
        return f"{summary}; {len(served) - len(firsts):,} made no attempt."
    return f"{summary}; the last one made its first attempt after {format_duration(max(firsts))}."
