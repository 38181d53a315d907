"""The results as Markdown: printed by each benchmark, and put into docs/explanation/benchmarks.md.

    python benchmarks/table.py

replaces the tables of that page, which stand between two comments, with those of benchmarks/results/*.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import ROOT

PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    ruled = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ruled, *rows))


def circumstances_line(result: dict[str, Any]) -> str:
    """What a result was measured on and with, in one paragraph."""
    known = result["circumstances"]
    return (
        f"Measured on {known['date']}: {known['machine']}, {known['system']}, {known['python']}; "
        f"server: {known['server']}; {known['packages']}."
    )


def throughput_tables(result: dict[str, Any]) -> str:
    """The targets, then all peers for each question."""
    compared = any(question["ratios"] for question in result["questions"])
    parts = [targets_table(result["questions"])] if compared else []
    for question in result["questions"]:
        title = question["title"]
        parts.append(f"### {title[0].upper()}{title[1:]}\n\n{peers_table(question)}")
        parts += [f"{peer} did not finish: {why}" for peer, why in question["failures"].items()]
    parts.append(f"Rounds: {result['repeats']}, medians shown. {circumstances_line(result)}")
    return "\n\n".join(parts)


def targets_table(questions: Iterable[dict[str, Any]]) -> str:
    """How many times faster than its peers headrace is where that is asked of it."""
    head = ("headrace, all policies on, against", "loop", "target", "measured", "rounds", "by CPU", "verdict")
    return table(
        head,
        (
            (
                f"{ratio['peer']}: {question['title']}",
                ratio["loop"],
                f"{ratio['target']:g} ×",
                f"{ratio['median']:.2f} ×",
                f"{ratio['lowest']:.2f} to {ratio['highest']:.2f}",
                f"{cpu_ratio(question, ratio['peer'], ratio['loop']):.2f} ×",
                "met" if ratio["median"] >= ratio["target"] else "**short**",
            )
            for question in questions
            for ratio in question["ratios"]
            if ratio["target"]
        ),
    )


def cpu_ratio(question: dict[str, Any], peer: str, loop: str) -> float:
    """How many times headrace's CPU time per call a peer takes on the same loop."""
    times: dict[str, float] = {
        row["peer"]: row["cpu_us"]
        for row in question["rows"]
        if row["loop"] == loop and row["policies"] == "all"
    }
    return times[peer] / times["headrace"]


def peers_table(question: dict[str, Any]) -> str:
    """One question's figures for each peer."""
    ratios = {(ratio["peer"], ratio["loop"]): ratio["median"] for ratio in question["ratios"]}
    head = ("peer", "loop", "calls", "calls/s", "CPU µs/call", "mean ms", "p99 ms", "peak MB", "headrace is")
    return table(
        head,
        (
            (
                row["peer"] + (", no policies" if row["policies"] == "none" else ""),
                row["loop"],
                f"{row['calls']:,.0f}",
                f"{row['per_s']:,.0f}",
                f"{row['cpu_us']:,.0f}",
                f"{row['mean_ms']:,.1f}",
                f"{row['p99_ms']:,.1f}",
                f"{row['peak_mb']:,.0f}",
                f"{ratios[row['peer'], row['loop']]:.2f} ×" if row["peer"] != "headrace" else "",
            )
            for row in question["rows"]
        ),
    )


def memory_table(result: dict[str, Any]) -> str:
    """Peak memory for each number of items, and how much the most take beyond the fewest."""
    rows, limit = result["rows"], result["limit_mb"]
    least, most = rows[0], rows[-1]
    beyond = most["peak_mb"] - least["peak_mb"]
    return "\n\n".join(
        [
            table(
                ("items", "peak MB", "calls/s", "seconds"),
                (
                    (f"{row['items']:,}", row["peak_mb"], f"{row['per_s']:,.0f}", f"{row['wall_s']:.1f}")
                    for row in rows
                ),
            ),
            f"{most['items']:,} items take {beyond:.1f} MB more than {least['items']:,}; the target, at most "
            f"{limit:g} MB, is {'met' if beyond <= limit else 'missed'}. {result['in_flight']} in flight, on "
            f"{result['loop']}, all policies on. {circumstances_line(result)}",
        ]
    )


def real_input_table(result: dict[str, Any]) -> str:
    """What became of Debian's packages."""
    return "\n\n".join(
        [
            table(
                ("packages", "sections", "input MB", "output MB", "seconds", "items/s"),
                [
                    (
                        f"{result['items']:,}",
                        result["sections"],
                        f"{result['input_mb']:.1f}",
                        f"{result['output_mb']:.1f}",
                        f"{result['wall_s']:.1f}",
                        f"{result['items'] / result['wall_s']:,.0f}",
                    )
                ],
            ),
            f"Each id is in the output exactly once. {circumstances_line(result)}",
        ]
    )


TABLES = {"throughput": throughput_tables, "memory": memory_table, "real_input": real_input_table}


def main() -> None:
    """Put the tables of all results into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, show in TABLES.items():
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, begun, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise SystemExit(f"{PAGE.relative_to(ROOT)} has no place for {name}")
        page = f"{before}{begin}\n\n{show(result)}\n\n{end}{after}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
