"""The totals of a journal, and its counts over time, from which a superseded line is taken out again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise

import msgspec

from headrace_view.charts.bucket import Bucket
from headrace_view.index.counted_row import CountedRow
from headrace_view.index.line_facts import PICO

_WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 21_600, 86_400, 604_800, 6_048_000, 60_480_000, 10**10)
"""Widths of buckets in seconds; each is a multiple of the one before."""

_MOST_BUCKETS = 720
_NUMBERS = ("rows", "failed", "retries", "tokens_in", "tokens_out", "cost", "priced", "damaged")
_COUNTS = ("codes", "statuses", "reasons", "answers", "latencies")
"""The members of `Totals` whose sums are those of several journals; those that are counts by a key."""

_PAUSE, _LONG = 60, 1 / 20
"""A pause has more seconds than this, and is a greater share of the whole time than this."""

_FINE, _COARSE = math.log(1.02), math.log(1.08)
"""The logarithm of the ratio of neighbouring classes of latencies: of all calls, and of those of a bucket."""


class BucketCounts(msgspec.Struct):
    """The counts of a stretch of time; ``latencies`` are numbers by class, ``cost`` is in 1/PICO USD."""

    succeeded: int = 0
    failed: int = 0
    cost: int = 0
    codes: dict[str, int] = {}
    latencies: dict[int, int] = {}

    def merge(self, other: BucketCounts) -> None:
        """Add the counts of another."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.cost += other.cost
        for code, number in other.codes.items():
            _count(self.codes, code, number)
        for place, number in other.latencies.items():
            _count(self.latencies, place, number)


class Totals(msgspec.Struct):
    """The totals of the rows of a journal; costs are in 1/PICO USD.

    Attributes:
        rows: The number of rows.
        failed: How many of them failed.
        retries: Attempts after the first.
        tokens_in: Tokens of the prompts.
        tokens_out: Tokens of the answers.
        cost: The known costs.
        priced: The rows with a known cost.
        damaged: Lines that are not output lines.
        codes: The failed rows by the kind of their error.
        statuses: The rows by their HTTP status; "" without one.
        reasons: The rows by their finish reason.
        answers: The rows by their answer, if that is short.
        latencies: The answered calls by class of latency.
        width: Seconds of a bucket.
        buckets: The counts over time, by the number of the bucket since 1970.
    """

    rows: int = 0
    failed: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    priced: int = 0
    damaged: int = 0
    codes: dict[str, int] = {}
    statuses: dict[str, int] = {}
    reasons: dict[str, int] = {}
    answers: dict[str, int] = {}
    latencies: dict[int, int] = {}
    width: int = _WIDTHS[0]
    buckets: dict[int, BucketCounts] = {}

    @classmethod
    def of_all(cls, every: Iterable[Totals]) -> Totals:
        """The totals of several journals together."""
        whole = cls()
        for each in every:
            whole._merge(each)
        return whole

    def _merge(self, other: Totals) -> None:
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTS:
            for key, number in getattr(other, name).items():
                _count(getattr(self, name), key, number)
        width = max(self.width, other.width)
        self.buckets = merged(self.buckets, width // self.width)
        for number, counts in merged(other.buckets, width // other.width).items():
            self.buckets.setdefault(number, BucketCounts()).merge(counts)
        self.width = width
        while len(self.buckets) > _MOST_BUCKETS:
            self._widen()

    def _widen(self) -> None:
        wider = _WIDTHS[_WIDTHS.index(self.width) + 1]
        self.buckets = merged(self.buckets, wider // self.width)
        self.width = wider

    def add(self, row: CountedRow, sign: int = 1) -> None:
        """Count a row, or take it out again with the sign -1."""
        self.rows += sign
        self.failed += sign * row.failed
        self.retries += sign * max(0, row.attempts - 1)
        self.tokens_in += sign * row.tokens_in
        self.tokens_out += sign * row.tokens_out
        self.cost += sign * (row.cost or 0)
        self.priced += sign * (row.cost is not None)
        _count(self.statuses, "" if row.status is None else str(row.status), sign)
        if row.failed:
            _count(self.codes, row.code, sign)
        if row.reason:
            _count(self.reasons, row.reason, sign)
        if row.answer is not None:
            _count(self.answers, row.answer, sign)
        if row.answered:
            _count(self.latencies, _place(row.elapsed, _FINE), sign)
        if row.done_at is not None:
            self._count_in_bucket(row, row.done_at, sign)

    def _count_in_bucket(self, row: CountedRow, done_at: int, sign: int) -> None:
        number = done_at // 1000 // self.width
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = BucketCounts()
        bucket.succeeded += sign * (not row.failed)
        bucket.failed += sign * row.failed
        bucket.cost += sign * (row.cost or 0)
        if row.failed:
            _count(bucket.codes, row.code, sign)
        if row.answered:
            _count(bucket.latencies, _place(row.elapsed, _COARSE), sign)
        if not bucket.succeeded and not bucket.failed:
            del self.buckets[number]
        elif len(self.buckets) > _MOST_BUCKETS:
            self._widen()

    def percentile(self, percent: float) -> float | None:
        """A percentile of the latencies in seconds, to 1 %; None without an answered call."""
        return percentile(self.latencies, percent, _FINE)

    @property
    def active_seconds(self) -> float:
        """The time in which items were done, without long pauses as between two sessions."""
        numbers = sorted(self.buckets)
        waits = [(later - number) * self.width for number, later in pairwise(numbers)]
        whole = sum(waits) + self.width * bool(numbers)
        return float(whole - sum(wait for wait in waits if wait > max(_PAUSE, whole * _LONG)))

    def over_time(self, most: int) -> list[Bucket]:
        """The counts over time, in about ``most`` buckets of one width at most, without the empty ones."""
        seconds = self.active_seconds
        width = next(width for width in _WIDTHS if width >= self.width and seconds <= width * most)
        buckets = merged(self.buckets, width // self.width)
        return [
            Bucket(
                start=float(number * width),
                width=float(width),
                succeeded=each.succeeded,
                failed=each.failed,
                by_code=dict(each.codes),
                latency_p50=percentile(each.latencies, 50, _COARSE),
                latency_p95=percentile(each.latencies, 95, _COARSE),
                cost=Decimal(each.cost) / PICO,
            )
            for number, each in sorted(buckets.items())
        ]


def merged(buckets: Mapping[int, BucketCounts], neighbours: int) -> dict[int, BucketCounts]:
    """The counts in buckets that are wider by a factor."""
    wider: dict[int, BucketCounts] = {}
    for number, counts in buckets.items():
        wider.setdefault(number // neighbours, BucketCounts()).merge(counts)
    return wider


def percentile(latencies: Mapping[int, int], percent: float, step: float) -> float | None:
    """A percentile in seconds of latencies by class; None without any."""
    wanted = sum(latencies.values()) * percent / 100
    for place, number in sorted(latencies.items()):
        wanted -= number
        if wanted <= 0:
            return math.exp((place + 0.5) * step) / 1e6
    return None


def _place(elapsed: int, step: float) -> int:
    return math.floor(math.log(max(1, elapsed)) / step)


def _count(numbers: dict[str, int] | dict[int, int], key: str | int, by: int) -> None:
    """Add to a count; a count of zero is removed."""
    counts: dict[str | int, int] = numbers  # type: ignore[assignment]
    number = counts.get(key, 0) + by
    if number:
        counts[key] = number
    else:
        counts.pop(key, None)
