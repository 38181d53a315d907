"""A helper for the tests of maps."""

from __future__ import annotations

from typing import Any

from headrace import Outcome
from headrace.client.map import OutcomeStream


async def take(outcomes: OutcomeStream[Any], taken: list[Outcome]) -> None:
    """Add all outcomes of a map to ``taken``, also those before an error."""
    async with outcomes:
        async for outcome in outcomes:
            taken.append(outcome)  # noqa: PERF401 - what was taken before an error counts
