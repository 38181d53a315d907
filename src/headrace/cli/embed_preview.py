"""`headrace embed --dry-run`: shows the first texts, and estimates requests, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from headrace._support.text import printable, shortened
from headrace._support.units import format_count, format_usd
from headrace.cli.dry_run import addresses, price_of
from headrace.errors import InputError

if TYPE_CHECKING:
    from headrace.bulk.embedding import PreparedEmbedding
    from headrace.bulk.executor import WorkItem
    from headrace.client import Client
    from headrace.pipeline.bulk_engines import ExecutorEngine

_SHOWN = 3
_BYTES_PER_TOKEN = 4
"""A rule of thumb for English; other languages take more tokens."""


@attrs.define
class _Texts:
    """Makes the items of a run, and counts them."""

    prepared: PreparedEmbedding
    lines: list[str] = attrs.field(factory=list)
    number: int = 0
    size: int = 0
    failed: int = 0
    first_error: InputError | None = None

    def items(self) -> Iterator[WorkItem]:
        from headrace.bulk.embedding.batch import size_of, text_of
        from headrace.bulk.executor import WorkItem

        task = self.prepared.task
        for number, item in enumerate(task.source.items()):
            try:
                work = WorkItem(item.index, item.id, task.request(item))
            except InputError as error:
                self.failed += 1
                self.first_error = self.first_error or error
                shown = f"would fail: {error}"
            else:
                self.number += 1
                self.size += size_of(work)
                shown = shortened(text_of(work)) if number < _SHOWN else ""
                yield work
            if number < _SHOWN:
                self.lines += [printable(f"--- {item.id}"), printable(shown)]


def preview_embedding(
    client: Client, prepared: PreparedEmbedding, engine: ExecutorEngine | None = None
) -> str:
    """The first texts, the number of requests, and an estimate of tokens and cost; sends nothing.

    With an engine, each text is a request. If it has its own prices, both costs are shown.
    """
    from headrace.bulk.embedding.batch import batches_of

    prepared.check.finish()
    texts = _Texts(prepared)
    requests = sum(1 for _ in batches_of(texts.items(), prepared.batch_size if engine is None else 1))
    tokens = texts.size // _BYTES_PER_TOKEN
    model = client.settings.model
    cost = None if model is None else price_of(client)(model, tokens, 0)
    engine_price = getattr(engine, "price_of", lambda client: None)(client)
    engine_cost = None if model is None or engine_price is None else engine_price(model, tokens, 0)
    lines = [
        *texts.lines,
        f"{format_count(requests, 'request')} with {format_count(texts.number, 'text')} would be sent to "
        f"{addresses(client)}; nothing was.",
    ]
    if texts.first_error is not None:
        lines.append(
            f"{format_count(texts.failed, 'item')} would fail without a call; first: {texts.first_error}"
        )
    lines.append(f"  tokens     about {tokens:,} in")
    if cost is None:
        lines.append("  cost       unknown: the model has no price, or headrace-cost is not installed")
    elif engine is None or engine_cost is None:
        lines.append(f"  cost       estimated: {format_usd(cost)}")
    else:
        lines.append(f"  cost       at once: {format_usd(cost)}; {engine.name}: {format_usd(engine_cost)}")
    return "\n".join(lines)
