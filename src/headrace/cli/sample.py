"""`headrace run --dry-run --sample N`: some of the rows are sent, to estimate what all of them cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from headrace._support.units import format_duration, format_usd
from headrace.cli.preview import addresses
from headrace.replies import Reply

if TYPE_CHECKING:
    from headrace.bulk import Task
    from headrace.calls import Outcome, Request
    from headrace.client import Client

_SURE = 2.0
"""Standard errors to each side of a mean, between which it is in 19 of 20 cases."""


@attrs.define
class _Sums:
    """The mean of some numbers, and how far off it may be from the mean of all that they were drawn from."""

    numbers: list[float]

    @property
    def mean(self) -> float:
        return sum(self.numbers) / len(self.numbers)

    @property
    def error(self) -> float:
        """Infinite for a single number, which says nothing about the others."""
        if len(self.numbers) < 2:
            return math.inf
        mean = self.mean
        variance = sum((number - mean) ** 2 for number in self.numbers) / (len(self.numbers) - 1)
        return _SURE * math.sqrt(variance / len(self.numbers))

    def __str__(self) -> str:
        return f"{min(self.numbers):,.0f} to {max(self.numbers):,.0f} (mean {self.mean:,.0f})"


async def take_sample(client: Client, task: Task, total: int, number: int) -> str:
    """Send ``number`` of the rows, spread evenly over the input, and say what they cost and all would."""
    outcomes: list[Outcome[Reply]] = []
    rows = list(_spread(task, total, number))
    async with client, client.map(rows) as seen:
        outcomes += [outcome async for outcome in seen]
    return _described(client, outcomes, total)


def _spread(task: Task, total: int, number: int) -> Iterator[Request]:
    number = min(number, total)
    wanted = {place * total // number for place in range(number)}
    for place, item in enumerate(task.source.items()):
        if place in wanted:
            yield task.request(item)


def _described(client: Client, outcomes: Sequence[Outcome[Reply]], total: int) -> str:
    replies = [outcome.reply for outcome in outcomes if outcome.reply is not None]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    lines = [
        f"{len(outcomes):,} of {total:,} rows were sent to {addresses(client)} as a sample; "
        "their answers are not kept.",
        f"  sample     {len(replies):,} succeeded, {len(errors):,} failed"
        + (f", in {format_duration(max(reply.elapsed for reply in replies))} at most" if replies else ""),
    ]
    if errors:
        lines.append(f"  first      {errors[0]}")
    if not replies:
        return "\n".join([*lines, "  cost       unknown: nothing was answered"])
    return "\n".join([*lines, *_tokens(replies, total), *_cost(replies, total)])


def _tokens(replies: Sequence[Reply], total: int) -> list[str]:
    usages = [reply.usage for reply in replies if reply.usage is not None]
    if not usages:
        return ["  tokens     unknown: the endpoint reports none"]
    prompt = _Sums([usage.prompt_tokens or 0 for usage in usages])
    output = _Sums([usage.completion_tokens or 0 for usage in usages])
    every = f"about {prompt.mean * total:,.0f} in, {output.mean * total:,.0f} out"
    return [
        f"  a row      {prompt} tokens in, {output} out",
        f"  tokens     {every} for all {total:,} rows",
    ]


def _cost(replies: Sequence[Reply], total: int) -> list[str]:
    costs = [reply.cost for reply in replies if reply.cost is not None]
    if not costs:
        return ["  cost       unknown: the model has no price, or headrace-cost is not installed"]
    paid, each = sum(costs, Decimal(0)), _Sums([float(cost) for cost in costs])
    estimate = f"  cost       about {format_usd(Decimal(each.mean * total))} for all {total:,} rows"
    if math.isfinite(each.error) and len(replies) < total:
        low = max(float(paid), (each.mean - each.error) * total)
        high = (each.mean + each.error) * total
        estimate += f", probably {format_usd(Decimal(low))} to {format_usd(Decimal(high))}"
    without = f"; {len(replies) - len(costs):,} without a price" if len(costs) < len(replies) else ""
    return [
        f"{estimate}: an estimate{without}",
        f"  spent      {format_usd(paid)} for the sample",
    ]
