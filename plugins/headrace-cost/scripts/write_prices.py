"""Writes ``prices.json`` from the installed genai-prices.

Run it with ``uv run python plugins/headrace-cost/scripts/write_prices.py``. A test fails if the two differ.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec

PATH = Path(__file__).parents[1] / "src" / "headrace_cost" / "prices.json"


def render() -> bytes:
    """The content of the file: one line per model, so that each change is one line of a diff."""
    from genai_prices.data import providers

    from headrace_cost.price_conversion import to_catalogue

    encode = msgspec.json.encode
    blocks = []
    for provider in to_catalogue(providers):
        models = b",\n".join(map(encode, provider.pop("models")))
        blocks.append(encode(provider)[:-1] + b',"models":[\n' + models + b"\n]}")
    source = {"source": f"genai-prices {version('genai-prices')}, MIT licence"}
    return encode(source)[:-1] + b',"providers":[\n' + b",\n".join(blocks) + b"\n]}\n"


if __name__ == "__main__":
    PATH.write_bytes(render())
