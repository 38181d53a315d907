"""A summary in words, and its figures as people read them."""

from __future__ import annotations

from decimal import Decimal

from headrace.bulk.summary import Failures, Summary
from headrace.replies import printable

_LONGEST_MESSAGE = 200


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 ms, 0.42 s, 12 s, 3:07, 2:05:30."""
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def money(usd: Decimal) -> str:
    """US dollars, to the hundredth of a cent below one dollar."""
    return f"${usd:,.4f}" if usd < 1 else f"${usd:,.2f}"


def label(kind: Failures) -> str:
    """The name of a kind of failures: its code, and the status where there is one."""
    return kind.code if kind.status is None else f"{kind.code} {kind.status}"


def _cut(message: str) -> str:
    """The beginning of a message, on one line."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 1]}…"


def describe(summary: Summary) -> str:
    """Totals, failures by kind with a first message, rate, latencies, tokens and cost, a line each."""
    tried = summary.succeeded + summary.failed
    lines = [
        f"{summary.done:,} of {summary.total:,} items done",
        f"  this time  {tried:,} in {duration(summary.elapsed)} ({summary.rate:,.1f}/s): "
        f"{summary.succeeded:,} succeeded, {summary.failed:,} failed, {summary.retries:,} retries",
    ]
    if summary.done_before:
        lines.append(f"  before     {summary.done_before:,} done, {summary.failed_before:,} of them failed")
    for place, kind in enumerate(summary.kinds):
        lines.append(
            f"  {'' if place else 'failures':8}   {kind.number:,} {label(kind)}: {_cut(kind.message)}"
        )
    latencies = summary.latencies
    if latencies.count:
        p50, p95, p99 = (duration(latencies.percentile(percent)) for percent in (50, 95, 99))
        lines.append(f"  latency    mean {duration(latencies.mean)}, p50 {p50}, p95 {p95}, p99 {p99}")
    if summary.prompt_tokens or summary.completion_tokens:
        lines.append(f"  tokens     {summary.prompt_tokens:,} in, {summary.completion_tokens:,} out")
    if summary.cost is not None:
        without = f", {summary.unpriced:,} replies without a price left out" if summary.unpriced else ""
        lines.append(f"  cost       {money(summary.cost)}{without}")
    elif summary.unpriced:
        lines.append("  cost       unknown: no price for this model, or no cost plugin")
    if summary.possible_cost is not None:
        lines.append(
            f"  besides    at most {money(summary.possible_cost)} for attempts of unknown cost "
            "(timeouts, cancelled hedges, answers that broke off)"
        )
    return "\n".join(lines)
