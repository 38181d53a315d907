"""`headrace run --dry-run --sample N`: sends some of the rows, and estimates the cost of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from headrace._support.units import format_duration, format_usd
from headrace.bulk import Task, WorkItem
from headrace.cli.dry_run import addresses
from headrace.errors import InputError
from headrace.replies import Reply

if TYPE_CHECKING:
    from headrace.bulk.prepared_run import PreparedRun
    from headrace.calls import Outcome, Request
    from headrace.client import Client

_CONFIDENCE = 2.0
"""Standard errors on each side of a mean; the true mean is within them in 19 of 20 cases."""


@attrs.define
class _SampleMean:
    """The mean of a sample, and how far the mean of all rows may be from it."""

    numbers: list[float]

    @property
    def mean(self) -> float:
        return sum(self.numbers) / len(self.numbers)

    @property
    def error(self) -> float:
        """Half the width of the confidence interval; infinite for a single number."""
        if len(self.numbers) < 2:
            return math.inf
        mean = self.mean
        variance = sum((number - mean) ** 2 for number in self.numbers) / (len(self.numbers) - 1)
        return _CONFIDENCE * math.sqrt(variance / len(self.numbers))

    def __str__(self) -> str:
        return f"{min(self.numbers):,.0f} to {max(self.numbers):,.0f} (mean {self.mean:,.0f})"


async def take_sample(client: Client, prepared: PreparedRun, number: int) -> str:
    """Send ``number`` rows, spread evenly over the input; returns their cost and the estimate for all."""
    outcomes: list[Outcome[Reply]] = []
    rows = list(_spread(prepared, number))
    async with client, client.map(rows) as finished:
        outcomes += [outcome async for outcome in finished]
    return _report(client, outcomes, prepared.check.finish())


def _spread(prepared: PreparedRun, number: int) -> Iterator[WorkItem]:
    task, total = prepared.task, prepared.check.finish()
    assert isinstance(task, Task)
    number = min(number, total)
    wanted = {place * total // number for place in range(number)}
    for place, item in enumerate(task.source.items()):
        if place in wanted:
            request: Request | InputError
            try:
                request = task.request(item)
            except InputError as error:
                request = error
            yield WorkItem(item.index, item.id, request)


def _report(client: Client, outcomes: Sequence[Outcome[Reply]], total: int) -> str:
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
        return "\n".join([*lines, "  cost       unknown: no row was answered"])
    return "\n".join([*lines, *_tokens(replies, total), *_cost(replies, total)])


def _tokens(replies: Sequence[Reply], total: int) -> list[str]:
    usages = [reply.usage for reply in replies if reply.usage is not None]
    if not usages:
        return ["  tokens     unknown: the endpoint does not report them"]
    prompt = _SampleMean([usage.prompt_tokens or 0 for usage in usages])
    output = _SampleMean([usage.completion_tokens or 0 for usage in usages])
    every = f"about {prompt.mean * total:,.0f} in, {output.mean * total:,.0f} out"
    return [
        f"  a row      {prompt} tokens in, {output} out",
        f"  tokens     {every} for all {total:,} rows",
    ]


def _cost(replies: Sequence[Reply], total: int) -> list[str]:
    costs = [reply.cost for reply in replies if reply.cost is not None]
    if not costs:
        return ["  cost       unknown: the model has no price, or headrace-cost is not installed"]
    paid, each = sum(costs, Decimal(0)), _SampleMean([float(cost) for cost in costs])
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
