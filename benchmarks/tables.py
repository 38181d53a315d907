"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A figure, its heading and its format."""

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
    "concurrency_styles": (Column("whole_s", "seconds for all", ",.1f"), *CALLS),
    "policies_cost": (
        Column("cpu_us", "CPU µs/call", ",.1f"),
        Column("cost_us", "of that, policies", ",.1f"),
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
        Column("calls", "chunks"),
        Column("per_s", "chunks/s"),
        Column("cpu_us", "CPU µs/chunk", ",.1f"),
        Column("wall_s", "seconds", ",.2f"),
        Column("peak_mb", "peak MB"),
    ),
    "ray_data": (
        Column("calls", "calls"),
        Column("per_s", "calls/s"),
        Column("cpu_us", "CPU µs/call"),
        Column("failed", "failed"),
        Column("wall_s", "seconds, with start", ",.1f"),
    ),
    "actors": (
        Column("failed_pc", "failed %", ",.1f"),
        Column("limited_pc", "429 %", ",.1f"),
        Column("used_pc", "limit used %", ",.0f"),
        Column("fullest_pc", "fullest minute %", ",.0f"),
        Column("seconds", "seconds"),
        Column("fewest", "fewest"),
        Column("most", "most"),
        Column("first_s", "last first attempt, s", ",.1f"),
        Column("exchanges_call", "exchanges per call", ",.2f"),
        Column("exchanges_s", "exchanges per second", ",.0f"),
        Column("delay_ms", "p99 delay, ms", ",.1f"),
    ),
    "https_steps": (
        Column("http1_us", "HTTP/1.1, µs/call", ",.1f"),
        Column("alone_us", "HTTP/2, alone", ",.1f"),
        Column("many_us", "HTTP/2, 100 together", ",.1f"),
    ),
    "batches": (
        Column("per_s", "rows/s"),
        Column("mb_s", "MB/s", ",.1f"),
        Column("cpu_us", "CPU µs/row", ",.1f"),
        Column("cpu_ms_mb", "CPU ms/MB", ",.2f"),
        Column("wall_s", "seconds", ",.1f"),
        Column("peak_mb", "peak MB", ",.1f"),
    ),
    "startup": (
        Column("wall_ms", "ms"),
        Column("cpu_ms", "CPU ms"),
        Column("modules", "modules"),
        Column("foreign", "of these httpx, rich, click"),
    ),
}
"""The columns of a question's tables, if they are not `CALLS`."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    ruled = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ruled, *rows))


def environment_line(result: dict[str, Any]) -> str:
    """The environment of a result, in one paragraph."""
    known = result["environment"]
    return (
        f"Measured on {known['date']}: {known['machine']}, {known['system']}, {known['python']}; "
        f"server: {known['server']}; {known['packages']}."
    )


def result_tables(result: dict[str, Any]) -> str:
    """The targets, then the figures of all clients for each load."""
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
        parts.append("A quick run with few calls: these figures are not results.")
    parts.append(f"Rounds: {result['repeats']}, medians shown. {environment_line(result)}")
    return "\n\n".join(parts)


def load_table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str:
    """The figures of all clients for one load, with their event loops if they have one."""
    known = ("name", "loop") if any(row["loop"] for row in rows) else ("name",)
    return table(
        ("", *known[1:], *(column.heading for column in columns)),
        (
            (*(row[name] for name in known), *(format(row[column.figure], column.form) for column in columns))
            for row in rows
        ),
    )


def targets_table(verdicts: Iterable[dict[str, Any]]) -> str:
    """The targets, the measured values, and whether they are met."""
    return table(
        ("target", "of", "bound", "measured", "lowest to highest", ""),
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
    """A number with few digits."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def real_input_tables(result: dict[str, Any]) -> str:
    """The result for Debian's packages."""
    columns = ("packages", "sections", "input MB", "output MB", "seconds", "items/s")
    figures = (
        f"{result['items']:,}",
        result["sections"],
        f"{result['input_mb']:.1f}",
        f"{result['output_mb']:.1f}",
        f"{result['wall_s']:.1f}",
        f"{result['items'] / result['wall_s']:,.0f}",
    )
    text = f"Each id is in the output exactly once. {environment_line(result)}"
    return f"{table(columns, [figures])}\n\n{text}"
