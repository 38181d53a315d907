"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A figure, its heading, and how it is written."""

    figure: str
    heading: str
    form: str = ",.0f"


CALLS = (
    Column("calls", "calls"),
    Column("per_s", "calls/s"),
    Column("cpu_us", "CPU µs/call"),
    Column("mean_ms", "mean ms", ",.1f"),
    Column("p99_ms", "p99 ms", ",.1f"),
    Column("peak_mb", "peak MB"),
)
WALL = (Column("wall_s", "seconds", ",.2f"), *CALLS)
COLUMNS: dict[str, Sequence[Column]] = {
    "black_friday": WALL,
    "approaches": (Column("whole_s", "seconds for all", ",.1f"), *CALLS),
    "policies_cost": (
        Column("cpu_us", "CPU µs/call", ",.1f"),
        Column("cost_us", "of these, the policies", ",.1f"),
        Column("per_s", "calls/s"),
    ),
    "memory": (
        Column("peak_mb", "peak MB", ",.1f"),
        Column("per_s", "calls/s"),
        Column("cpu_us", "CPU µs/call"),
        Column("wall_s", "seconds", ",.1f"),
    ),
    "soak": (
        Column("calls", "calls"),
        Column("per_s", "calls/s"),
        Column("streams", "streams"),
        Column("cancelled", "cancelled"),
        Column("failed", "failed"),
        Column("first_mb", "MB after the warm-up", ",.1f"),
        Column("last_mb", "MB at the end", ",.1f"),
    ),
    "streaming": (
        Column("calls", "pieces"),
        Column("per_s", "pieces/s"),
        Column("cpu_us", "CPU µs/piece", ",.1f"),
        Column("wall_s", "seconds", ",.2f"),
        Column("peak_mb", "peak MB"),
    ),
    "ray_data": (
        Column("calls", "calls"),
        Column("per_s", "calls/s"),
        Column("cpu_us", "CPU µs/call"),
        Column("failed", "failed"),
        Column("wall_s", "seconds with the start", ",.1f"),
    ),
    "actors": (
        Column("failed_pc", "failed %", ",.1f"),
        Column("limited_pc", "429 %", ",.1f"),
        Column("used_pc", "used %", ",.0f"),
        Column("fullest_pc", "fullest minute %", ",.0f"),
        Column("seconds", "seconds"),
        Column("fewest", "fewest"),
        Column("most", "most"),
        Column("first_s", "last first s", ",.1f"),
        Column("exchanges_call", "exchanges a call", ",.2f"),
        Column("exchanges_s", "a second", ",.0f"),
        Column("delay_ms", "wait ms", ",.1f"),
    ),
    "https_steps": (
        Column("http1_us", "HTTP/1.1, µs/call", ",.1f"),
        Column("alone_us", "HTTP/2, alone", ",.1f"),
        Column("many_us", "HTTP/2, 100 together", ",.1f"),
    ),
    "startup": (
        Column("wall_ms", "ms"),
        Column("cpu_ms", "CPU ms"),
        Column("modules", "modules"),
        Column("foreign", "httpx, rich, click among them"),
    ),
}
"""The columns of a question's tables, where they are not `CALLS`."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    ruled = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ruled, *rows))


def environment_line(result: dict[str, Any]) -> str:
    """What a result was measured on and with, in one paragraph."""
    known = result["environment"]
    return (
        f"Measured on {known['date']}: {known['machine']}, {known['system']}, {known['python']}; "
        f"server: {known['server']}; {known['packages']}."
    )


def result_tables(result: dict[str, Any]) -> str:
    """The targets, then everybody's figures under each load."""
    parts = [targets_table(result["targets"])] if result["targets"] else []
    columns = COLUMNS.get(result["question"], CALLS)
    loads = dict.fromkeys(row["load"] for row in result["rows"])
    for load in loads:
        if len(loads) > 1:
            parts.append(f"**{load[0].upper()}{load[1:]}**")
        parts.append(load_table([row for row in result["rows"] if row["load"] == load], columns))
    parts += [
        f"{load}: {name}, {loop}: did not finish: {why}" for load, name, loop, why in result["failures"]
    ]
    if result["quick"]:
        parts.append("A quick look, with few calls: these are no results.")
    parts.append(f"Rounds: {result['repeats']}, medians shown. {environment_line(result)}")
    return "\n\n".join(parts)


def load_table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str:
    """Everybody's figures under one load; on which loop, where there is one."""
    known = ("name", "loop") if any(row["loop"] for row in rows) else ("name",)
    return table(
        ("", *known[1:], *(column.heading for column in columns)),
        (
            (*(row[name] for name in known), *(format(row[column.figure], column.form) for column in columns))
            for row in rows
        ),
    )


def targets_table(verdicts: Iterable[dict[str, Any]]) -> str:
    """What was asked, what came out, and whether that is enough."""
    return table(
        ("target", "of", "asked", "measured", "lowest to highest", ""),
        (
            (
                verdict["text"],
                verdict["ours"],
                f"≥ {number(verdict['least'])} {verdict['unit']}"
                if verdict["least"] is not None
                else f"≤ {number(verdict['most'])} {verdict['unit']}",
                f"{number(verdict['median'])} {verdict['unit']}",
                f"{number(verdict['lowest'])} to {number(verdict['highest'])}",
                "met" if verdict["met"] else "**not met**",
            )
            for verdict in verdicts
        ),
    )


def number(value: float) -> str:
    """A number as short as it makes sense."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def real_input_tables(result: dict[str, Any]) -> str:
    """What became of Debian's packages."""
    columns = ("packages", "sections", "input MB", "output MB", "seconds", "items/s")
    figures = (
        f"{result['items']:,}",
        result["sections"],
        f"{result['input_mb']:.1f}",
        f"{result['output_mb']:.1f}",
        f"{result['wall_s']:.1f}",
        f"{result['items'] / result['wall_s']:,.0f}",
    )
    said = f"Each id is in the output exactly once. {environment_line(result)}"
    return f"{table(columns, [figures])}\n\n{said}"
