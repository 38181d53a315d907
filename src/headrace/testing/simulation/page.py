"""The page about a simulation, rendered from its template."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import attrs
from markupsafe import Markup

import headrace
from headrace._support.units import format_duration
from headrace.errors import InputError
from headrace.pages import render_page
from headrace.pages import write_page as write_file
from headrace.testing.simulation import summary_text
from headrace.testing.simulation.charts import Charts, not_sent
from headrace.testing.simulation.metrics import CIRCUIT
from headrace.testing.simulation.run import SimulationResult, VariantResult
from headrace.testing.simulation.tables import Table, notes, overview


@attrs.frozen
class Chart:
    """A chart with its heading; ``about`` describes it."""

    id: str
    heading: str
    about: str
    svg: Markup


@attrs.frozen
class Calls:
    """The chart of one variant's calls; the flags select the entries of its key."""

    name: str
    settings: str
    unit: str
    svg: Markup
    failed: bool
    refused: bool
    circuit: bool


def write_page(result: SimulationResult, out: str | os.PathLike[str]) -> None:
    """Write the page to ``out``; raises `InputError` if that is not possible."""
    try:
        write_file(render(result, datetime.now(UTC)), out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def render(result: SimulationResult, made_at: datetime) -> str:
    """The page about a result."""
    scenario, charts = result.scenario, Charts(result)
    windows = [
        (f"{format_duration(begin) if begin else '0'} to {format_duration(end)}", text)
        for begin, end, text in summary_text.windows(scenario)
    ]
    values = {
        "title": scenario.title or "A simulation",
        "about": scenario.about,
        "facts": [
            ("Load", summary_text.load(scenario)),
            ("Endpoint", summary_text.endpoint(scenario)),
            *windows,
        ],
        "windows": bool(windows),
        "overview": _transposed(overview(result)),
        "runs": [_calls(charts, run) for run in result.runs],
        "charts": _charts(charts, result),
        "names": [run.variant.name for run in result.runs] if len(result.runs) > 1 else [],
        "colours": charts.colours,
        "words": list(notes(result)),
    }
    return render_page(__package__, values, version=headrace.__version__, made_at=made_at)


def _calls(charts: Charts, run: VariantResult) -> Calls:
    svg, unit = charts.calls(run)
    refused = not_sent(run.total)
    return Calls(
        run.variant.name,
        summary_text.settings(run),
        unit,
        Markup(svg),
        failed=run.total.failed > refused,
        refused=refused > 0,
        circuit=any(interval.state != CIRCUIT[0] for interval in run.intervals),
    )


def _charts(charts: Charts, result: SimulationResult) -> list[Chart]:
    svg, unit = charts.attempts()
    drawn = [Chart("attempts", "Attempts", f"At the endpoint, {unit}, including retries.", Markup(svg))]
    svg, unit = charts.latency()
    about = f"95th percentile of served calls, in {unit}."
    drawn.append(Chart("latency", "Latency", about, Markup(svg)))
    for name, heading, about in (
        (
            "in_flight",
            "In flight",
            "Calls between their begin and their end, including waits before retries.",
        ),
        ("queue", "Queue", "Attempts that waited at the endpoint for a server."),
        ("busy", "Busy", "Attempts that were being served."),
    ):
        if any(run.highest[name] for run in result.runs):
            drawn.append(Chart(name, heading, about, Markup(charts.level(name)[0])))
    return drawn


def _transposed(table: Table) -> Table:
    """The transposed table: few variants become columns, and their many values rows."""
    names, *columns = zip(*table.rows, strict=True)
    rows = [(heading, *cells) for heading, cells in zip(table.headings[1:], columns, strict=True)]
    return Table(("", *names), tuple(rows))
