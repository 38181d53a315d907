"""Finds the long pauses of a run, which charts leave out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import pairwise

_MOST_PAUSES = 20
_SHORTEST_PAUSE = 60.0
_UNUSUAL = 20
"""A pause is this many times longer than the median wait for the next item."""

_NOTICEABLE = 10
"""A pause is longer than the rest of the run divided by this; shorter ones fit in the chart."""


def split_at_pauses(buckets: Iterable[int], width: float) -> list[list[int]]:
    """Split the buckets of a timeline where nothing was done for long.

    A pause is over a minute, unusual among the waits between buckets, and noticeable beside the time without
    the pauses. At most 20 pauses are found, the longest ones.

    Args:
        buckets: The numbers of the buckets in which something was done, in order of time.
        width: The width of a bucket, in seconds.

    Returns:
        The numbers of each active period, at least one period.

    Example:
        ```python
        split_at_pauses([0, 1, 2, 3600, 3601], width=1.0)  # [[0, 1, 2], [3600, 3601]]
        ```
    """
    buckets = list(buckets)
    waits = {bucket: (bucket - before) * width for before, bucket in pairwise(buckets)}
    pauses = _pauses(waits)
    parts: list[list[int]] = [[]]
    for bucket in buckets:
        if bucket in pauses:
            parts.append([])
        parts[-1].append(bucket)
    return parts


def _pauses(waits: dict[int, float]) -> set[int]:
    """The waits that are pauses: long in themselves, and long compared with the rest of the run."""
    if not waits:
        return set()
    least = max(_SHORTEST_PAUSE, _UNUSUAL * statistics.median(waits.values()))
    long = sorted((wait, bucket) for bucket, wait in waits.items() if wait >= least)
    rest = sum(waits.values()) - sum(wait for wait, _ in long)
    for number, (wait, _) in enumerate(long):
        if wait * _NOTICEABLE > rest:
            return {bucket for _, bucket in long[number:][-_MOST_PAUSES:]}
        rest += wait
    return set()
