"""Writes ``prices.json`` from the installed genai-prices.

Run it by ``uv run python plugins/headrace-cost/scripts/write_prices.py``. A test fails where the two differ.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec

PATH = Path(__file__).parents[1] / "src" / "headrace_cost" / "prices.json"


def written() -> bytes:
    """The file as it is to be: a line a model, so that a change is seen as one."""
    from genai_prices.data import providers

    from headrace_cost.conversion import catalogue_of

    encode = msgspec.json.encode
    blocks = []
    for provider in catalogue_of(providers):
        models = b",\n".join(map(encode, provider.pop("models")))
        blocks.append(encode(provider)[:-1] + b',"models":[\n' + models + b"\n]}")
    source = {"source": f"genai-prices {version('genai-prices')}, MIT licence"}
    return encode(source)[:-1] + b',"providers":[\n' + b",\n".join(blocks) + b"\n]}\n"


if __name__ == "__main__":
    PATH.write_bytes(written())
