"""`headrace run --dry-run`: shows what would be sent, and estimates the cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from headrace._support.text import printable
from headrace._support.units import format_count, format_usd
from headrace.bulk import Task
from headrace.cli.media_preview import check_files, content_text, without_media
from headrace.errors import InputError
from headrace.wire.request_bodies import as_request, encode_body, encode_json, max_output_tokens

if TYPE_CHECKING:
    from headrace.bulk.prepared_run import PreparedRun
    from headrace.calls import Request
    from headrace.client import Client
    from headrace.pipeline.bulk_engines import ExecutorEngine

SHOWN = 3
"""How many rows are shown."""

_BYTES_PER_TOKEN = 4
"""A rule of thumb for English; other languages take more tokens."""


@attrs.define
class Estimate:
    """Totals of all requests: tokens, and the cost with empty answers and with the longest answers."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    unlimited: int = 0
    least: Decimal = Decimal(0)
    most: Decimal = Decimal(0)
    unpriced: int = 0
    with_media: bool = False

    def add(self, request: Request, price: Callable[[str, int, int], Decimal | None]) -> None:
        """Add a request."""
        body = request.body or {}
        text = without_media(body)
        self.with_media = self.with_media or text is not body
        tokens = len(encode_body(text)) // _BYTES_PER_TOKEN
        output = max_output_tokens(body, None)
        self.prompt_tokens += tokens
        self.output_tokens += output or 0
        self.unlimited += output is None
        model = request.model
        least = None if model is None else price(model, tokens, 0)
        if model is None or least is None:
            self.unpriced += 1
        else:
            self.least += least
            self.most += price(model, tokens, output or 0) or 0


def preview(client: Client, prepared: PreparedRun, engine: ExecutorEngine | None = None) -> str:
    """The first requests, their number, and an estimate of tokens and cost; sends nothing.

    If ``engine`` has its own prices, both costs are shown.
    """
    task, total = prepared.task, prepared.check.finish()
    assert isinstance(task, Task)
    items = total
    lines: list[str] = []
    estimate, price = Estimate(), price_of(client)
    with_engine, engine_price = Estimate(), getattr(engine, "price_of", lambda client: None)(client)
    first: InputError | None = None
    for number, item in enumerate(task.source.items()):
        try:
            request = as_request(task.request(item), client.settings.model)
            check_files(request.body or {})
            shown = shown_request(request) if number < SHOWN else []
        except InputError as error:
            shown = [f"would fail: {error}"]
            first = first or error
            total -= 1
        else:
            estimate.add(request, price)
            if engine_price is not None:
                with_engine.add(request, engine_price)
        if number < SHOWN:
            lines += [printable(line) for line in (f"--- {item.id}", *shown)]
    lines.append(f"{format_count(total, 'request')} would be sent to {addresses(client)}; nothing was.")
    if task.samples is not None and task.samples > 1:
        lines.append(
            f"Each asks for {task.samples:,} answers. An endpoint that gives only one gets a request for "
            "each of them."
        )
    if first is not None:
        without = format_count(items - total, "item")
        lines.append(f"{without} would fail without a call; first: {first}")
    costs = [("estimated", estimate)]
    if engine is not None and engine_price is not None:
        costs = [("at once", estimate), (engine.name, with_engine)]
    lines += figures(estimate, total, costs)
    if estimate.unpriced < total:
        lines.append("  For a better estimate, --sample 20 sends 20 of the rows.")
    return "\n".join(lines)


def figures(estimate: Estimate, total: int, costs: Sequence[tuple[str, Estimate]] | None = None) -> list[str]:
    """The lines with the estimated tokens and cost of this many requests.

    Args:
        estimate: The estimate.
        total: The number of requests.
        costs: Estimates of the cost with their names; None for that of ``estimate`` alone.
    """
    tokens = f"  tokens     about {estimate.prompt_tokens:,} in"
    if not estimate.unlimited:
        tokens += f", at most {estimate.output_tokens:,} out"
    elif estimate.unlimited == total:
        tokens += "; out unknown, because no max_tokens is set"
    else:
        without = format_count(estimate.unlimited, "request")
        tokens += f"; out unknown, because max_tokens is not set in {without}"
    if estimate.unpriced == total:
        return [tokens, "  cost       unknown: the model has no price, or headrace-cost is not installed"]
    amounts = "; ".join(f"{name}: {_amount(each)}" for name, each in costs or [("estimated", estimate)])
    if estimate.unlimited:
        cost = f"  cost       {amounts} plus the cost of the answers"
    else:
        cost = f"  cost       {amounts}, depending on the length of the answers"
    if estimate.unpriced:
        cost += f"; {estimate.unpriced:,} have no price"
    if estimate.with_media:
        cost += "\n  The estimate does not count the tokens of images, files and audio."
    return [tokens, cost]


def _amount(estimate: Estimate) -> str:
    least = format_usd(estimate.least)
    return least if estimate.unlimited else f"{least} to {format_usd(estimate.most)}"


def price_of(client: Client) -> Callable[[str, int, int], Decimal | None]:
    """A function that prices tokens of a model at the first endpoint that serves it; None if unknown."""
    prices = [found for each in client.policies if (found := getattr(each, "estimate", None)) is not None]

    def cost(model: str, prompt_tokens: int, output_tokens: int) -> Decimal | None:
        endpoint = next((each for each in client.endpoints if each.serves(model)), None)
        if not prices or endpoint is None:
            return None
        found: Decimal | None = prices[0](model, prompt_tokens, output_tokens, endpoint)
        return found

    return cost


def addresses(client: Client) -> str:
    """The endpoints that requests are sent to."""
    return " or ".join(endpoint.base_url for endpoint in client.endpoints)


def shown_request(request: Request) -> list[str]:
    """The lines that show a request."""
    body = dict(request.body or {})
    messages = body.pop("messages", None)
    lines = [f"{message['role']}: {_content(message)}" for message in messages or ()]
    return [*lines, f"({encode_body(body).decode()})"]


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message and its parts; as JSON if it has other members."""
    content = message.get("content")
    other = {name: each for name, each in message.items() if name not in ("role", "content")}
    text = content_text(content)
    return encode_json({"content": content and text, **other}).decode() if other else text
