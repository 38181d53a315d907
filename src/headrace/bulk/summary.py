"""Running totals of a bulk run, in memory that does not grow with it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import attrs

from headrace._support.histogram import LatencyHistogram
from headrace.bulk.result import Result
from headrace.errors import HeadraceError


@attrs.define
class Failures:
    """Items that failed with the same code and status: their number, and the message of the first."""

    code: str
    status: int | None
    number: int
    message: str


@attrs.define(eq=False)
class Summary:
    """What has become of a run so far.

    ``total`` items in the input, of which ``done_before`` were done, and ``failed_before`` of those
    failed, when it was started or resumed. The rest counts this session: ``succeeded``, ``failed``,
    ``retries`` (attempts beyond the first), tokens (none of replies that took no attempt), ``cost`` in USD
    (None until a call has a price), ``possible_cost`` of attempts that may have been billed though their cost
    is not known, ``unpriced`` replies, ``elapsed`` in seconds. ``latencies`` are those of calls that
    succeeded, their waits and retries included. ``waiting`` is why nothing is sent at the moment, empty where
    something is. ``stopped_by`` is the error, or the word "interrupt", that ended the session before the
    input's end.
    """

    total: int
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
    elapsed: float = 0.0
    latencies: LatencyHistogram = attrs.field(factory=LatencyHistogram, repr=False)
    waiting: str = ""
    stopped_by: HeadraceError | str | None = None
    _kinds: dict[tuple[str, int | None], Failures] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def kinds(self) -> list[Failures]:
        """What failed in this session, by code and status: the most frequent first, then by these."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.number, kind.code, kind.status or 0))

    @property
    def failures(self) -> Counter[str]:
        """The number of items that failed in this session, by code."""
        numbers: Counter[str] = Counter()
        for kind in self._kinds.values():
            numbers[kind.code] += kind.number
        return numbers

    @property
    def done(self) -> int:
        """Items that need not be sent again."""
        return self.done_before + self.succeeded + self.failed

    @property
    def left(self) -> int:
        """Items still to be sent."""
        return self.total - self.done

    @property
    def rate(self) -> float:
        """Items a second in this session."""
        return (self.succeeded + self.failed) / self.elapsed if self.elapsed else 0.0

    def add(self, result: Result) -> None:
        """Count a result that has a line."""
        self.retries += max(result.attempts - 1, 0)
        if result.answered:
            self.latencies.add(result.elapsed)
            self.prompt_tokens += result.prompt_tokens
            self.completion_tokens += result.completion_tokens
            self.unpriced += result.cost is None
        self._spend(result.cost, result.possible_cost)
        if result.code is None:
            self.succeeded += 1
        else:
            self.failed += 1
            self._count(Failures(result.code, result.status, 1, result.message))

    def _count(self, failures: Failures) -> None:
        known = self._kinds.setdefault((failures.code, failures.status), failures)
        if known is not failures:
            known.number += failures.number

    def merge(self, other: Summary) -> None:
        """Count what another session of the same run did, its items not among those of this one."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        for kind in other._kinds.values():
            self._count(attrs.evolve(kind))
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
