"""Renders the page: figures and charts in its template."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path

import attrs
from markupsafe import Markup

import headrace
from headrace._support.units import format_count, format_duration, format_rate, format_usd
from headrace.bulk.report.answers import Distribution
from headrace.bulk.report.charts import PERCENTILES, latency_chart, throughput_chart
from headrace.bulk.report.run_facts import read_run_facts
from headrace.bulk.report.statistics import MANY_ATTEMPTS, Statistics
from headrace.bulk.report.timeline import TimelineView
from headrace.bulk.summary_text import cut_off_text
from headrace.errors import InputError
from headrace.pages import render_page, width_label
from headrace.pages import write_page as write_file

_UNKNOWN = "not known"
_MOST_FAILED = 200
"""Failed items that are listed without a script."""


@attrs.frozen
class Headline:
    """A figure at the top of the page; ``note`` is in small print below it."""

    name: str
    value: str
    note: str = ""


def write_page(statistics: Statistics, source: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write the page about ``source`` to ``out``; raises `InputError` if it cannot be written."""
    try:
        facts = read_run_facts(source, statistics.fingerprints)
        write_file(render(statistics, Path(source).name, datetime.now(UTC), facts), out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def render(
    statistics: Statistics, name: str, made_at: datetime, facts: Sequence[tuple[str, str]] = ()
) -> str:
    """The page about the output with this name; ``facts`` are names and texts about the run."""
    script = resources.files(__package__).joinpath("rows.js").read_text(encoding="utf-8")
    distributions, failed = statistics.answers.views(), statistics.rows.failed
    summary, view = statistics.summary, statistics.timeline.view()
    latencies = summary.latencies
    values = {
        "name": name,
        "when": when(statistics),
        "statistics": statistics,
        "summary": summary,
        "figures": figures(statistics, view),
        "latency": Markup(latency_chart(latencies)) if latencies.count else None,
        "throughput": None if view is None else Markup(throughput_chart(view)),
        "every": "" if view is None else width_label(view.width),
        "pauses": [] if view is None else [format_duration(pause / 1000) for pause in view.pauses],
        "failures": [(group.label, group.message, group.number) for group in summary.failure_groups],
        "facts": facts,
        "distributions": distributions,
        "filters": [(each.member, filters_of(each)) for each in distributions if each.values],
        "finish_reasons": summary.finish_reasons.most_common(),
        "cut_off": cut_off_text(summary),
        "failed": failed[:_MOST_FAILED],
        "more_failed": max(0, summary.failed - _MOST_FAILED),
        "rows": Markup(statistics.rows.encode()),
        "script": Markup(script),
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "models": sorted(statistics.models.items(), key=lambda each: (-each[1].answers, each[0])),
        "attempts": [
            (f"{number} or more" if number == MANY_ATTEMPTS else f"{number}", count)
            for number, count in sorted(statistics.attempts.items())
        ],
    }
    return render_page(
        __package__,
        values,
        version=headrace.__version__,
        made_at=made_at,
        filters={"money": format_usd, "share": share, "counted": format_count},
    )


def filters_of(distribution: Distribution) -> list[tuple[str, str]]:
    """The values that rows can be filtered by: JSON for the script, and the text to show."""
    return [
        (json.dumps([distribution.member, value]), label)
        for value, (label, _) in zip(distribution.values, distribution.counts, strict=True)
    ]


def when(statistics: Statistics) -> str:
    """The time span of the run, in UTC."""
    timeline = statistics.timeline
    if timeline.first is None:
        return ""
    first, last = (datetime.fromtimestamp(ms // 1000, UTC) for ms in (timeline.first, timeline.last))
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {until} UTC"


def figures(statistics: Statistics, view: TimelineView | None) -> Iterable[Headline]:
    """The figures at the top of the page."""
    summary, latencies = statistics.summary, statistics.summary.latencies
    items = statistics.items
    yield Headline("Items", f"{items:,}")
    yield Headline("Succeeded", f"{summary.succeeded:,}", share(summary.succeeded, items))
    yield Headline("Failed", f"{summary.failed:,}", share(summary.failed, items))
    yield Headline("Retries", f"{summary.retries:,}")
    if view is None:
        yield Headline("Time", _UNKNOWN)
        yield Headline("Rate", _UNKNOWN)
    else:
        pauses = view.pauses
        note = (
            f"without {format_count(len(pauses), 'pause')} of {format_duration(sum(pauses) / 1000)}"
            if pauses
            else ""
        )
        dated = items - statistics.undated
        seconds = view.active / 1000
        yield Headline("Time", format_duration(seconds), note)
        yield Headline("Rate", format_rate(dated / seconds) if seconds else _UNKNOWN)
    yield Headline("Tokens in", f"{summary.prompt_tokens:,}")
    yield Headline("Tokens out", f"{summary.completion_tokens:,}")
    yield Headline("Cost", *_cost(summary.cost, summary.unpriced))
    for percent in PERCENTILES:
        known = format_duration(latencies.percentile(percent)) if latencies.count else _UNKNOWN
        yield Headline(f"Latency p{percent}", known)


def _cost(cost: Decimal | None, unpriced: int) -> tuple[str, str]:
    if cost is None:
        return _UNKNOWN, "no price for the models that answered" if unpriced else ""
    note = f"{format_count(unpriced, 'answer')} without a price left out" if unpriced else ""
    return format_usd(cost), note


def share(part: int, whole: int) -> str:
    """A share in percent; 0% and 100% only if they are exact."""
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "under 0.1%"
    if part < whole and percent > 99.9:
        return "over 99.9%"
    return f"{percent:.1f}%".replace(".0%", "%")
