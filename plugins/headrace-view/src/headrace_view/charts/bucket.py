"""What a run did in one stretch of time: a point of the charts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import attrs


@attrs.frozen
class Bucket:
    """The counts of the items that were done in one stretch of time.

    Args:
        start: When it begins, in Unix seconds.
        width: Its length, in seconds.
        succeeded: Items that succeeded in it.
        failed: Items that failed in it.
        by_code: How many of them failed, by the code of their error.
        latency_p50: The median latency of the calls that were answered in it, in seconds; None without such a
            call.
        latency_p95: The 95th percentile of these latencies, in seconds; None without such a call.
        cost: The cost of the items in USD, of this stretch alone.
    """

    start: float
    width: float
    succeeded: int = 0
    failed: int = 0
    by_code: Mapping[str, int] = attrs.field(factory=dict)
    latency_p50: float | None = None
    latency_p95: float | None = None
    cost: Decimal = Decimal(0)
