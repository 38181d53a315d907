"""Results as plots: a figure a question, the same file for the same result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]

mpl.use("svg")

from matplotlib.axes import Axes  # type: ignore[import-not-found, unused-ignore]
from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
from matplotlib.ticker import FuncFormatter  # type: ignore[import-not-found, unused-ignore]

STYLE: Any = {
    "svg.hashsalt": "headrace",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}
HEADRACE, PEER, FLOOR = "#0b63a5", "#8a8f98", "#b9975b"
MARKERS = "ovsD^P*X"

Row = dict[str, Any]


def draw(result: dict[str, Any], path: Path) -> None:
    """Write a result's plot, as SVG or whatever the name ends in."""
    with mpl.rc_context(STYLE):
        figure = PLOTS[result["question"]](result)
        path.parent.mkdir(exist_ok=True)
        known = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, metadata=known, dpi=110)


def colour(name: str) -> str:
    """Ours, the floor below it, or a peer."""
    if "headrace" in name:
        return HEADRACE
    return FLOOR if name.startswith("floor") else PEER


def label(row: Row) -> str:
    """Who it is."""
    return row["name"] if row["loop"] == "none" else f"{row['name']}, {row['loop']}"


def rows_of(result: dict[str, Any], load: str | None = None) -> list[Row]:
    """The rows of one load, by default the first."""
    load = load or result["rows"][0]["load"]
    return [row for row in result["rows"] if row["load"] == load]


def plain(axis: Any) -> None:
    """Numbers in full, with commas, where there would be powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def bars(axes: Axes, rows: Sequence[Row], figure: str, form: str, *, log: bool = False) -> None:
    """A bar for each row, the longest at the top, its number at its end."""
    ordered = sorted(rows, key=lambda row: float(row[figure]))
    values = [row[figure] for row in ordered]
    drawn = axes.barh(
        [label(row) for row in ordered], values, color=[colour(row["name"]) for row in ordered], height=0.7
    )
    axes.bar_label(drawn, [format(value, form) for value in values], padding=3, fontsize=8)
    axes.tick_params(axis="y", length=0)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 3)
    else:
        axes.set_xlim(min(0.0, *values), max(values) * 1.16)
    plain(axes.xaxis)


def curves(axes: Axes, result: dict[str, Any], figure: str, names: Sequence[tuple[str, str]]) -> None:
    """A line for each of ``names`` over the calls in flight that its loads' titles tell, named at its end."""
    ends = []
    for number, (name, loop) in enumerate(names):
        rows = [row for row in result["rows"] if (row["name"], row["loop"]) == (name, loop)]
        if not rows:
            continue
        points = sorted((leading_number(row["load"]), row[figure]) for row in rows)
        axes.plot(
            *zip(*points, strict=True),
            color=colour(name),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.4,
        )
        ends.append((points[-1], f"{name}, {loop}", colour(name)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.7)
    ticks = sorted({leading_number(row["load"]) for row in result["rows"]})
    axes.set_xticks(ticks)
    plain(axes.xaxis)
    plain(axes.yaxis)
    axes.set_xlabel("calls in flight")
    name_ends(axes, ends, ticks[-1])


def name_ends(axes: Axes, ends: Sequence[tuple[tuple[float, float], str, str]], right: float) -> None:
    """Write names at the right of their lines, far enough apart to be read."""
    low, high = axes.get_ylim()
    least, above = (high / low) ** 0.052, 0.0
    for (_, value), name, paint in sorted(ends):
        at = max(value, above * least)
        axes.annotate(name, (right, at), xytext=(7, 0), textcoords="offset points", color=paint, va="center")
        above = at


def leading_number(text: str) -> int:
    """The number that a load's title begins with."""
    found = re.match(r"[\d,]+", text)
    return int(found[0].replace(",", "")) if found else 0


CURVES = (
    ("headrace, map", "uvloop"),
    ("headrace, map", "trio"),
    ("aiohttp recipe", "uvloop"),
    ("pyreqwest (Rust)", "uvloop"),
    ("httpx", "asyncio"),
    ("openai", "asyncio"),
    ("floor: asyncio.Protocol", "uvloop"),
)


def two_panels(titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with two panels one above the other, and room for names at their right."""
    figure = Figure(figsize=(7.2, 7.0), layout="constrained")
    panels = list(figure.subplots(2, 1))
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    return figure, panels


def throughput(result: dict[str, Any]) -> Figure:
    """Calls a second and CPU time over calls in flight."""
    figure, (rates, times) = two_panels(
        ["How many calls a second, where the server answers at once?", "And how much CPU time a call?"]
    )
    curves(rates, result, "per_s", CURVES)
    rates.set_ylabel("calls/s")
    curves(times, result, "cpu_us", CURVES)
    times.set_ylabel("µs of CPU a call")
    return figure


def latency(result: dict[str, Any]) -> Figure:
    """Calls a second and mean latency over calls in flight."""
    figure, (rates, times) = two_panels(
        ["How many calls a second, where the server takes 47 ms?", "And how late is an answer, in the mean?"]
    )
    curves(rates, result, "per_s", CURVES[:-1])
    rates.set_ylabel("calls/s")
    curves(times, result, "mean_ms", CURVES[:-1])
    times.axhline(47, color="#444444", linewidth=0.8, linestyle=":")
    times.set_ylabel("mean latency, ms (dotted: the server's)")
    return figure


def one_panel(title: str, axis: str, number: int) -> tuple[Figure, Axes]:
    """A figure of ``number`` bars."""
    figure = Figure(figsize=(7.2, 1.1 + 0.27 * number), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", x=0.0)
    axes.set_xlabel(axis)
    return figure, axes


def black_friday(result: dict[str, Any]) -> Figure:
    """Wall clock, and what physics asks for."""
    rows = rows_of(result)
    title = f"5,000 calls of 800 ms at once {rows[0]['load']}: until the last answer"
    figure, axes = one_panel(title, "seconds", len(rows))
    bars(axes, rows, "wall_s", ".2f", log=True)
    axes.axvline(0.8, color="#444444", linewidth=0.8, linestyle=":")
    axes.set_xlim(0.5, axes.get_xlim()[1])
    axes.set_xlabel("seconds (dotted: the server's 0.8)")
    return figure


def approaches(result: dict[str, Any]) -> Figure:
    """Seconds for all calls, the slow and the quick on one scale."""
    rows = [*rows_of(result), *rows_of(result, "100 at a time")]
    figure, axes = one_panel("The same 5,000 calls of 47 ms, 100 at a time", "seconds", len(rows))
    bars(axes, rows, "whole_s", ",.1f", log=True)
    return figure


def policies_cost(result: dict[str, Any]) -> Figure:
    """What each policy takes, on one loop."""
    rows = [row | {"loop": "none"} for row in rows_of(result) if row["loop"] == "uvloop"]
    shown = [row | {"name": f"headrace: {row['name']}"} for row in rows if row["name"] != "none"]
    figure, axes = one_panel("What do the policies cost?", "µs of CPU a call, uvloop", len(shown))
    bars(axes, shown, "cost_us", ".1f")
    return figure


def memory(result: dict[str, Any]) -> Figure:
    """Peak memory over items."""
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.subplots()
    points = [(leading_number(row["load"]), row["peak_mb"]) for row in result["rows"]]
    axes.plot(*zip(*points, strict=True), color=HEADRACE, marker="o", markersize=4)
    for items, peak in points:
        axes.annotate(f"{peak:.1f}", (items, peak), xytext=(0, 6), textcoords="offset points", ha="center")
    axes.set_xscale("log")
    axes.set_ylim(0, max(peak for _, peak in points) * 1.3)
    axes.set_xticks([items for items, _ in points])
    plain(axes.xaxis)
    axes.set_title("Does memory grow with the input?")
    axes.set_xlabel("items of a bulk run, journal on")
    axes.set_ylabel("peak MB")
    return figure


def soak(result: dict[str, Any]) -> Figure:
    """Memory, and objects, over the calls made."""
    figure, (memory, objects) = two_panels(
        ["Does memory grow with the calls that one client makes?", "And the number of objects?"]
    )
    for axes, name in ((memory, "memory_mb"), (objects, "objects")):
        for number, (loop, samples) in enumerate(result["samples"].items()):
            axes.plot(
                [each["calls"] for each in samples],
                [each[name] for each in samples],
                color=(HEADRACE, PEER)[number],
                label=loop,
            )
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="lower right")
        axes.set_xlabel("calls made")
        plain(axes.xaxis)
        plain(axes.yaxis)
    memory.set_ylabel("MB, the interpreter included")
    objects.set_ylabel("objects")
    return figure


def bar_chart(result: dict[str, Any], title: str, unit: str, name: str) -> Figure:
    """One bar per row, for the number with this name."""
    rows = rows_of(result)
    figure, axes = one_panel(title, unit, len(rows))
    bars(axes, rows, name, ",.0f")
    return figure


def streaming(result: dict[str, Any]) -> Figure:
    """Pieces a second where the server does not wait."""
    return bar_chart(result, "How many pieces of 200 streams a second?", "pieces/s", "per_s")


def startup(result: dict[str, Any]) -> Figure:
    """Milliseconds of each import."""
    return bar_chart(result, "How long does it take to start?", "ms", "wall_ms")


def tls(result: dict[str, Any]) -> Figure:
    """Calls a second, 100 in flight."""
    return bar_chart(result, "How many calls a second over https, 100 in flight?", "calls/s", "per_s")


def sdk(result: dict[str, Any]) -> Figure:
    """Calls a second of the official SDK over each HTTP client."""
    return bar_chart(result, "How many calls a second makes the official SDK?", "calls/s", "per_s")


PLOTS: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "throughput": throughput,
    "latency": latency,
    "black_friday": black_friday,
    "approaches": approaches,
    "policies_cost": policies_cost,
    "memory": memory,
    "soak": soak,
    "streaming": streaming,
    "sdk": sdk,
    "startup": startup,
    "tls": tls,
}
