"""`headrace run --dry-run`: what would be sent, and about what it costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from headrace.requests import as_request, encode_body, most_output

if TYPE_CHECKING:
    from headrace.bulk import Task
    from headrace.client import Client
    from headrace.model import Request

_SHOWN = 3
_BYTES_A_TOKEN = 4
"""A rule of thumb for English; other languages take more tokens."""


def preview(client: Client, task: Task, total: int) -> str:
    """The first requests, how many there are, and an estimate of tokens and cost; sends nothing."""
    lines: list[str] = []
    prompt_tokens, output_tokens, cost, unpriced, unlimited = 0, 0, Decimal(0), 0, 0
    price = next((found for each in client.policies if (found := getattr(each, "estimate", None))), None)
    for number, item in enumerate(task.source.items()):
        request = as_request(task.request(item), client.settings.model)
        if number < _SHOWN:
            lines += [f"--- {item.id}", *_shown(request)]
        content = encode_body(request.body)
        tokens, most = len(content) // _BYTES_A_TOKEN, most_output(request.body or {}, None)
        prompt_tokens += tokens
        output_tokens += most or 0
        unlimited += most is None
        each = None if price is None or request.model is None else price(request.model, tokens, most or 0)
        cost += each or 0
        unpriced += each is None
    where = " or ".join(endpoint.base_url for endpoint in client.endpoints)
    lines.append(f"{total:,} requests would be sent to {where}; nothing was.")
    lines.append(f"  tokens     about {prompt_tokens:,} in, at most {output_tokens:,} out")
    if unlimited:
        lines[-1] += f"; {unlimited:,} requests set no limit and count as 0, see --param max_tokens=…"
    if unpriced == total:
        lines.append("  cost       unknown: the model has no price, or headrace-cost is not installed")
    else:
        without = f"; {unpriced:,} have no price" if unpriced else ""
        lines.append(f"  cost       about ${cost:,.4f}{without}")
    return "\n".join(lines)


def _shown(request: Request) -> list[str]:
    body = dict(request.body or {})
    messages = body.pop("messages", None)
    lines = [f"{message['role']}: {message['content']}" for message in messages or ()]
    return [*lines, f"({encode_body(body).decode()})"]
