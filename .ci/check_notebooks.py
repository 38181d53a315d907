"""Checks executed notebooks: no cell failed or wrote to stderr, and each shows what its metadata says.

A code cell's metadata may have a list ``shows``: regular expressions, each of which some output must match.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
        mistakes = [f"{path.name}, cell {cell['id']}: {each}" for cell in cells for each in _mistakes(cell)]
        if mistakes:
            sys.exit("\n".join(mistakes))
        number = sum(len(cell["metadata"].get("shows", ())) for cell in cells)
        if not number:
            sys.exit(f"{path.name}: no cell says what it shows")
        print(f"{path.name}: {len(cells)} cells, which show {number} things")


def _mistakes(cell: dict[str, Any]) -> Iterator[str]:
    if cell["execution_count"] is None:
        yield "was not executed"
    for output in cell["outputs"]:
        if output["output_type"] == "error" or output.get("name") == "stderr":
            yield f"wrote {_texts(output) or output['evalue']}"
    for pattern in cell["metadata"].get("shows", ()):
        if not any(re.search(pattern, text) for output in cell["outputs"] for text in _texts(output)):
            yield f"does not show {pattern!r}"


def _texts(output: dict[str, Any]) -> list[str]:
    """The texts of an output, one for each of its forms."""
    return ["".join(text) for text in [output.get("text", ""), *output.get("data", {}).values()] if text]


if __name__ == "__main__":
    main()
