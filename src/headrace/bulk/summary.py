"""Running totals of a bulk run, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from html import escape
from typing import TypeVar

import attrs

from headrace._support.histogram import LatencyHistogram
from headrace._support.text import shortened
from headrace._support.units import format_duration, format_usd
from headrace.bulk.fail_on import FAIL_ON_NAMES
from headrace.bulk.item_result import ItemResult
from headrace.errors import AnswerError, HeadraceError

T = TypeVar("T", bound="Summary")

_MOST_GROUPS = 5
_MOST_REASONS = 20
_OTHER = "other"
"""What the finish reasons after the first 20 are counted as."""


@attrs.define
class FailureGroup:
    """Items that failed with the same code, status and finish reason.

    Attributes:
        code: The code of their error.
        status: The HTTP status that they failed with, None without one.
        number: How many they are.
        message: The message of the first.
        finish_reason: "length", "content_filter" or "refusal" if that is why they failed, else None.
    """

    code: str
    status: int | None
    number: int
    message: str
    finish_reason: str | None = None

    @property
    def label(self) -> str:
        """The code, with the status or the finish reason if there is one."""
        parts = (self.code, self.status, self.finish_reason)
        return " ".join(str(part) for part in parts if part is not None)


@attrs.define
class StepCounts:
    """What became of a step of a job in this session.

    Attributes:
        done: Rows for which it was answered.
        failed: Rows for which it failed.
        skipped: Rows whose condition was false.
        reused: Rows whose answer was there: from an earlier session, or before failed rows were sent again.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    reused: int = 0

    def __str__(self) -> str:
        """The numbers, without those of what did not occur."""
        others = {"failed": self.failed, "skipped": self.skipped, "reused": self.reused}
        return ", ".join(
            [f"{self.done:,} done", *(f"{found:,} {name}" for name, found in others.items() if found)]
        )


@attrs.define
class SampleCounts:
    """What became of the answers of a run with samples, in this session.

    Attributes:
        answers: Answers that came.
        unread: How many of them could not be read.
        reused: Answers that were there: from an earlier session, or before failed rows were sent again.
    """

    answers: int = 0
    unread: int = 0
    reused: int = 0


@attrs.define(eq=False, repr=False)
class Summary:
    """The totals of a run. All but the first four count this session only.

    Attributes:
        total: Items in the input.
        counted: Whether the whole input was counted; otherwise it has more than ``total`` items.
        done_before: Items that were done when the session started.
        failed_before: How many of those failed.
        succeeded: Items that succeeded.
        failed: Items that failed.
        retries: Attempts after the first one of each item.
        prompt_tokens: Tokens of the prompts; none for replies from a cache.
        completion_tokens: Tokens of the answers; none for replies from a cache.
        cost: USD, None until a call has a price.
        possible_cost: Maximum cost in USD of attempts whose cost is unknown, None without such attempts.
        unpriced: Replies without a price.
        finish_reasons: How many answers ended for each reason: "stop", "length" (cut off), "content_filter",
            "refusal", "tool_calls", or an endpoint's own word.
        elapsed: Seconds.
        latencies: Seconds of each answered call, including waits and retries.
        waiting: Why nothing is sent now; empty while calls are sent.
        stopped_by: The error that ended the session early, or the word "interrupt"; None otherwise.
        going_on: What goes on without this process after the session, and how to continue; empty if nothing
            does.
        steps: What became of each step of a job with steps, by its name; empty without steps.
        samples: What became of the answers of a run with samples; None without samples.
    """

    total: int
    counted: bool = attrs.field(default=True, kw_only=True)
    done_before: int = 0
    failed_before: int = 0
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    possible_cost: Decimal | None = None
    unpriced: int = 0
    finish_reasons: Counter[str] = attrs.field(factory=Counter)
    elapsed: float = 0.0
    latencies: LatencyHistogram = attrs.field(factory=LatencyHistogram)
    waiting: str = ""
    stopped_by: HeadraceError | str | None = None
    going_on: str = ""
    steps: Mapping[str, StepCounts] = attrs.field(factory=dict, kw_only=True)
    samples: SampleCounts | None = attrs.field(default=None, kw_only=True)
    _groups: dict[tuple[str, int | None, str | None], FailureGroup] = attrs.field(factory=dict, init=False)

    def __repr__(self) -> str:
        """The most important totals, on one line."""
        parts = [
            f"{self.done:,} of {self.total:,} items done",
            f"{self.succeeded:,} succeeded",
            f"{self.failed:,} failed",
        ]
        if cut_off := self.finish_reasons["length"]:
            parts.append(f"{cut_off:,} cut off")
        if self.cost is not None:
            parts.append(f"cost {format_usd(self.cost)}")
        if self.stopped_by is not None:
            parts.append(f"stopped by {shortened(str(self.stopped_by))}")
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """The totals as a table, which notebooks show."""
        at_least = "" if self.counted else "at least "
        rows = [
            ("Items", f"{self.done:,} of {at_least}{self.total:,} done"),
            ("Succeeded", f"{self.succeeded:,}"),
            ("Failed", f"{self.failed:,}"),
        ]
        rows += [(f"Step {name}", str(counts)) for name, counts in self.steps.items()]
        rows += [
            (f"{group.number:,} {group.label}", shortened(group.message))
            for group in self.failure_groups[:_MOST_GROUPS]
        ]
        reasons = self.finish_reasons.most_common()
        if reasons:
            rows += [("Finish reasons", ", ".join(f"{number:,} {reason}" for reason, number in reasons))]
        rows += [("Tokens", f"{self.prompt_tokens:,} in, {self.completion_tokens:,} out")]
        if self.cost is not None:
            rows.append(("Cost", format_usd(self.cost)))
        if self.elapsed:
            rows.append(("Time", f"{format_duration(self.elapsed)} ({self.rate:,.1f} per second)"))
        if self.waiting:
            rows.append(("Waiting", shortened(self.waiting)))
        if self.stopped_by is not None:
            rows.append(("Stopped by", shortened(str(self.stopped_by))))
        cells = [f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows]
        return f"<table>{''.join(cells)}</table>"

    @property
    def failure_groups(self) -> list[FailureGroup]:
        """The failures of this session by code, status and finish reason, the most frequent first."""
        return sorted(
            self._groups.values(),
            key=lambda group: (-group.number, group.code, group.status or 0, group.finish_reason or ""),
        )

    @property
    def failures(self) -> Counter[str]:
        """How many items failed in this session, by code."""
        numbers: Counter[str] = Counter()
        for group in self._groups.values():
            numbers[group.code] += group.number
        return numbers

    @property
    def done(self) -> int:
        """Items that are done, in all sessions."""
        return self.done_before + self.succeeded + self.failed

    @property
    def left(self) -> int:
        """Items that are not done."""
        return self.total - self.done

    @property
    def rate(self) -> float:
        """Items per second in this session."""
        return (self.succeeded + self.failed) / self.elapsed if self.elapsed else 0.0

    def add(self, result: ItemResult) -> None:
        """Count the only call of an item, and the item."""
        self.add_call(result)
        self.add_item(result)

    def add_call(self, result: ItemResult) -> None:
        """Count a call; of an item with several, each is counted."""
        if result.attempts > 1:
            self.retries += result.attempts - 1
        if result.answered:
            self.latencies.add(result.elapsed)
            self.prompt_tokens += result.prompt_tokens
            self.completion_tokens += result.completion_tokens
            self.unpriced += result.cost is None
        if result.finish_reason is not None:
            self._count_reason(result.finish_reason, 1)
        for reason in result.further_reasons:
            self._count_reason(reason, 1)
        self._spend(result.cost, result.possible_cost)

    def add_item(self, result: ItemResult) -> None:
        """Count an item that is done."""
        if result.code is None:
            self.succeeded += 1
        else:
            self.failed += 1
            reason = result.finish_reason
            why = reason if result.code == AnswerError.code and reason in FAIL_ON_NAMES else None
            self.add_failures(FailureGroup(result.code, result.status, 1, result.message, why))

    def forget_failures(self) -> None:
        """Count no item as failed, because those that were are sent again; what they cost stays."""
        self.failed = self.failed_before = 0
        self._groups.clear()

    def _count_reason(self, reason: str, number: int) -> None:
        if reason not in self.finish_reasons and len(self.finish_reasons) >= _MOST_REASONS:
            reason = _OTHER
        self.finish_reasons[reason] += number

    def add_failures(self, group: FailureGroup) -> None:
        """Add a group to those of this session, or to the one of its kind; ``failed`` stays."""
        known = self._groups.setdefault((group.code, group.status, group.finish_reason), group)
        if known is not group:
            known.number += group.number

    def snapshot(self) -> Summary:
        """A copy of the totals that does not change."""
        return self.copy_to(Summary(0))

    def copy_to(self, copy: T) -> T:
        """Copy the totals to new ones, and return these."""
        copy.total, copy.counted = self.total, self.counted
        copy.done_before, copy.failed_before = self.done_before, self.failed_before
        copy.elapsed, copy.waiting, copy.stopped_by = self.elapsed, self.waiting, self.stopped_by
        copy.going_on = self.going_on
        copy.steps = {name: attrs.evolve(counts) for name, counts in self.steps.items()}
        copy.samples = None if self.samples is None else attrs.evolve(self.samples)
        copy.merge(self)
        return copy

    def merge(self, other: Summary) -> None:
        """Add the totals of another session of the same run, which had other items."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        for group in other._groups.values():
            self.add_failures(attrs.evolve(group))
        for reason, number in other.finish_reasons.items():
            self._count_reason(reason, number)
        self.retries += other.retries
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self._spend(other.cost, other.possible_cost)
        self.unpriced += other.unpriced
        self.latencies.merge(other.latencies)

    def _spend(self, cost: Decimal | None, possible_cost: Decimal | None) -> None:
        if cost is not None:
            self.cost = cost if self.cost is None else self.cost + cost
        if possible_cost is not None:
            self.possible_cost = (self.possible_cost or 0) + possible_cost
