"""The totals of a summary as JSON, for an engine whose calls are made in several processes."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import msgspec

from headrace._support.histogram import LatencyHistogram
from headrace.bulk.summary import FailureGroup, Summary


class _Totals(msgspec.Struct, omit_defaults=True):
    """What `Summary.merge` adds up; ``latencies`` are the buckets, and the sum in seconds."""

    succeeded: int = 0
    failed: int = 0
    failures: list[FailureGroup] = []
    finish_reasons: dict[str, int] = {}
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    possible_cost: Decimal | None = None
    unpriced: int = 0
    latencies: tuple[dict[int, int], float] = ({}, 0.0)


def encode_totals(summary: Summary) -> bytes:
    """What a session has done so far, as JSON; `decode_totals` reads it in another process."""
    return msgspec.json.encode(
        _Totals(
            summary.succeeded,
            summary.failed,
            summary.failure_groups,
            dict(summary.finish_reasons),
            summary.retries,
            summary.prompt_tokens,
            summary.completion_tokens,
            summary.cost,
            summary.possible_cost,
            summary.unpriced,
            summary.latencies.state(),
        )
    )


def decode_totals(data: bytes) -> Summary:
    """The totals that `encode_totals` has written, for `Summary.merge`.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    totals = msgspec.json.decode(data, type=_Totals)
    summary = Summary(
        0,
        succeeded=totals.succeeded,
        failed=totals.failed,
        finish_reasons=Counter(totals.finish_reasons),
        retries=totals.retries,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cost=totals.cost,
        possible_cost=totals.possible_cost,
        unpriced=totals.unpriced,
        latencies=LatencyHistogram.of(*totals.latencies),
    )
    for group in totals.failures:
        summary.add_failures(group)
    return summary
