"""The summary of a run as text."""

from __future__ import annotations

from headrace._support.text import shortened
from headrace._support.units import format_count, format_duration, format_usd
from headrace.bulk.summary import SampleCounts, Summary

_MOST_GROUPS = 5
_USUAL_REASONS = frozenset({"stop", "tool_calls"})


def finish_reason_text(summary: Summary) -> str:
    """How many answers ended for which reason, the most frequent first; empty if all are complete."""
    reasons = summary.finish_reasons
    if reasons.keys() <= _USUAL_REASONS:
        return ""
    return ", ".join(f"{number:,} {shortened(reason)}" for reason, number in reasons.most_common())


def cut_off_text(summary: Summary) -> str:
    """How many answers were cut off, and what to do; empty for none."""
    cut_off = summary.finish_reasons["length"]
    if not cut_off:
        return ""
    were = "was" if cut_off == 1 else "were"
    return f"{format_count(cut_off, 'answer')} {were} cut off at the output limit; raise max_tokens"


def _samples_text(counts: SampleCounts) -> str:
    """How many answers came, without what did not occur."""
    parts = [format_count(counts.answers, "answer")]
    if counts.unread:
        parts.append(f"{counts.unread:,} of them could not be read")
    if counts.reused:
        parts.append(f"{counts.reused:,} more reused")
    return ", ".join(parts)


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
    for place, (name, counts) in enumerate(summary.steps.items()):
        lines.append(f"  {'' if place else 'steps':8}   {name}: {counts}")
    if summary.samples is not None:
        lines.append(f"  samples    {_samples_text(summary.samples)}")
    groups = summary.failure_groups
    for place, group in enumerate(groups[:_MOST_GROUPS]):
        heading = "" if place else "failures"
        lines.append(f"  {heading:8}   {group.number:,} {group.label}: {shortened(group.message)}")
    if others := groups[_MOST_GROUPS:]:
        number = sum(group.number for group in others)
        lines.append(f"             {number:,} of {format_count(len(others), 'other kind')}")
    if reasons := finish_reason_text(summary):
        lines.append(f"  finish     {reasons}")
    if cut_off := cut_off_text(summary):
        lines.append(f"             {cut_off}")
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
