"""`headrace run --dry-run`: what would be sent, and about what it costs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from headrace._support.units import format_usd
from headrace.wire.request_bodies import as_request, encode_body, max_output_tokens

if TYPE_CHECKING:
    from headrace.bulk import Task
    from headrace.calls import Request
    from headrace.client import Client

_SHOWN = 3
_BYTES_A_TOKEN = 4
"""A rule of thumb for English; other languages take more tokens."""


@attrs.define
class _Estimate:
    """Sums over all requests: tokens, and the cost of no answers and of the longest ones that are allowed."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    unlimited: int = 0
    least: Decimal = Decimal(0)
    most: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, request: Request, price: Callable[[str, int, int], Decimal | None]) -> None:
        """Count a request."""
        tokens, output = (
            len(encode_body(request.body)) // _BYTES_A_TOKEN,
            max_output_tokens(request.body or {}, None),
        )
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


def preview(client: Client, task: Task, total: int) -> str:
    """The first requests, how many there are, and an estimate of tokens and cost; sends nothing."""
    lines: list[str] = []
    estimate, price = _Estimate(), price_of(client)
    for number, item in enumerate(task.source.items()):
        request = as_request(task.request(item), client.settings.model)
        if number < _SHOWN:
            lines += [f"--- {item.id}", *_shown(request)]
        estimate.add(request, price)
    lines.append(f"{total:,} requests would be sent to {addresses(client)}; nothing was.")
    return "\n".join([*lines, *_figures(estimate, total)])


def _figures(estimate: _Estimate, total: int) -> list[str]:
    tokens = f"  tokens     about {estimate.prompt_tokens:,} in"
    if not estimate.unlimited:
        tokens += f", at most {estimate.output_tokens:,} out"
    elif estimate.unlimited == total:
        tokens += "; not known how many out: no max_tokens is set"
    else:
        tokens += f"; not known how many out: {estimate.unlimited:,} requests set no max_tokens"
    if estimate.unpriced == total:
        return [tokens, "  cost       unknown: the model has no price, or headrace-cost is not installed"]
    if estimate.unlimited:
        cost = f"  cost       an estimate: {format_usd(estimate.least)} and what the answers cost"
    else:
        least, most = format_usd(estimate.least), format_usd(estimate.most)
        cost = f"  cost       an estimate: {least} to {most}, by the length of the answers"
    if estimate.unpriced:
        cost += f"; {estimate.unpriced:,} have no price"
    return [tokens, cost, "  --sample 20 sends 20 of the rows, and estimates by what the model answers."]


def price_of(client: Client) -> Callable[[str, int, int], Decimal | None]:
    """What so many tokens of a model cost at the first endpoint that has it; None where that is not known."""
    prices = [found for each in client.policies if (found := getattr(each, "estimate", None)) is not None]

    def cost(model: str, prompt_tokens: int, output_tokens: int) -> Decimal | None:
        endpoint = next((each for each in client.endpoints if each.serves(model)), None)
        if not prices or endpoint is None:
            return None
        found: Decimal | None = prices[0](model, prompt_tokens, output_tokens, endpoint)
        return found

    return cost


def addresses(client: Client) -> str:
    """Where requests go."""
    return " or ".join(endpoint.base_url for endpoint in client.endpoints)


def _shown(request: Request) -> list[str]:
    body = dict(request.body or {})
    messages = body.pop("messages", None)
    lines = [f"{message['role']}: {message['content']}" for message in messages or ()]
    return [*lines, f"({encode_body(body).decode()})"]
