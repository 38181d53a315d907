"""The summary of a run as text."""

from __future__ import annotations

from headrace._support.text import printable
from headrace._support.units import format_duration, format_usd
from headrace.bulk.summary import FailureGroup, Summary

_LONGEST_MESSAGE = 200


def failure_label(group: FailureGroup) -> str:
    """The name of a group of failures: the code, and the status if there is one."""
    return group.code if group.status is None else f"{group.code} {group.status}"


def _cut(message: str) -> str:
    """The beginning of a message, on one line."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 1]}…"


def describe(summary: Summary) -> str:
    """Totals, failures by kind with a first message, rate, latencies, tokens and cost, each on a line."""
    tried = summary.succeeded + summary.failed
    lines = [
        f"{summary.done:,} of {summary.total:,} items done"
        + ("" if summary.counted else "; the rest of the input was not counted"),
        f"  this time  {tried:,} in {format_duration(summary.elapsed)} ({summary.rate:,.1f}/s): "
        f"{summary.succeeded:,} succeeded, {summary.failed:,} failed, {summary.retries:,} retries",
    ]
    if summary.done_before:
        lines.append(f"  before     {summary.done_before:,} done, {summary.failed_before:,} of them failed")
    for place, group in enumerate(summary.failure_groups):
        heading = "" if place else "failures"
        lines.append(f"  {heading:8}   {group.number:,} {failure_label(group)}: {_cut(group.message)}")
    latencies = summary.latencies
    if latencies.count:
        p50, p95, p99 = (format_duration(latencies.percentile(percent)) for percent in (50, 95, 99))
        lines.append(f"  latency    mean {format_duration(latencies.mean)}, p50 {p50}, p95 {p95}, p99 {p99}")
    if summary.prompt_tokens or summary.completion_tokens:
        lines.append(f"  tokens     {summary.prompt_tokens:,} in, {summary.completion_tokens:,} out")
    if summary.cost is not None:
        without = f", {summary.unpriced:,} replies without a price left out" if summary.unpriced else ""
        lines.append(f"  cost       {format_usd(summary.cost)}{without}")
    elif summary.unpriced:
        lines.append("  cost       unknown: no price for this model, or no cost plugin")
    if summary.possible_cost is not None:
        lines.append(
            f"  possible   at most {format_usd(summary.possible_cost)} more: "
            "timeouts, cancelled hedges, answers that broke off"
        )
    return "\n".join(lines)
