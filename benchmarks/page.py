"""Puts the tables and plots of benchmarks/results/*.json into docs/explanation/benchmarks.md.

    python benchmarks/page.py

The tables are between two comments of the page. The plots are in the folder images beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import RESULTS, ROOT
from benchmarks.tables import real_input_tables, result_tables

PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"


def replace_tables(page: str, name: str, tables: str) -> str:
    """The page with tables between the comments of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise SystemExit(f"the page has no comments for {name}")
    return f"{before}{begin}\n\n{tables}\n\n{end}{after}"


def tables_of(name: str, result: dict[str, Any]) -> str:
    """The tables of a result."""
    return real_input_tables(result) if name == "real_input" else result_tables(result)


def main() -> None:
    """Run the script as a command."""
    from benchmarks.plots import PLOTS, draw

    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        text = replace_tables(PAGE.read_text(encoding="utf-8"), path.stem, tables_of(path.stem, result))
        PAGE.write_text(text, encoding="utf-8")
        if path.stem in PLOTS:
            draw(result, PAGE.parent / "images" / f"benchmark-{path.stem}.svg")


if __name__ == "__main__":
    main()
