"""Results as plots: one figure per question. The same result gives the same file."""

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
    """Write the plot of a result; the file name says the format, such as SVG."""
    with mpl.rc_context(STYLE):
        figure = PLOTS[result["question"]](result)
        path.parent.mkdir(exist_ok=True)
        known = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, metadata=known, dpi=110)


def colour(name: str) -> str:
    """The colour for headrace, a floor or another client."""
    if "headrace" in name:
        return HEADRACE
    return FLOOR if name.startswith("floor") else PEER


def label(row: Row) -> str:
    """The name of a row's client and event loop."""
    return row["name"] if row["loop"] == "none" else f"{row['name']}, {row['loop']}"


def rows_of(result: dict[str, Any], load: str | None = None) -> list[Row]:
    """The rows of one load, by default the first."""
    load = load or result["rows"][0]["load"]
    return [row for row in result["rows"] if row["load"] == load]


def plain(axis: Any) -> None:
    """Write numbers in full, with commas, instead of powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def bars(axes: Axes, rows: Sequence[Row], figure: str, form: str, *, log: bool = False) -> None:
    """One bar per row, the longest at the top, with its value at its end."""
    ordered = sorted(rows, key=lambda row: float(row[figure]))
    values = [row[figure] for row in ordered]
    timed_bodies = axes.barh(
        [label(row) for row in ordered], values, color=[colour(row["name"]) for row in ordered], height=0.7
    )
    axes.bar_label(timed_bodies, [format(value, form) for value in values], padding=3, fontsize=8)
    axes.tick_params(axis="y", length=0)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 3)
    else:
        axes.set_xlim(min(0.0, *values), max(values) * 1.16)
    plain(axes.xaxis)


def curves(axes: Axes, result: dict[str, Any], figure: str, names: Sequence[tuple[str, str]]) -> None:
    """One line for each of ``names`` over the calls in flight, with its name at its end."""
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
    """Write names at the right of their lines, without overlaps."""
    low, high = axes.get_ylim()
    least, above = (high / low) ** 0.052, 0.0
    for (_, value), name, paint in sorted(ends):
        at = max(value, above * least)
        axes.annotate(name, (right, at), xytext=(7, 0), textcoords="offset points", color=paint, va="center")
        above = at


def leading_number(text: str) -> int:
    """The number at the beginning of a load's title."""
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
    """A figure with two panels, one above the other."""
    figure = Figure(figsize=(7.2, 7.0), layout="constrained")
    panels = list(figure.subplots(2, 1))
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    return figure, panels


def throughput(result: dict[str, Any]) -> Figure:
    """Calls per second and CPU time over calls in flight."""
    figure, (rates, times) = two_panels(
        ["Calls per second if the server answers at once", "CPU time per call"]
    )
    curves(rates, result, "per_s", CURVES)
    rates.set_ylabel("calls/s")
    curves(times, result, "cpu_us", CURVES)
    times.set_ylabel("CPU µs per call")
    return figure


def latency(result: dict[str, Any]) -> Figure:
    """Calls per second and mean latency over calls in flight."""
    figure, (rates, times) = two_panels(["Calls per second if the server takes 47 ms", "Mean latency"])
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
    """Wall clock, with its minimum."""
    rows = rows_of(result)
    title = f"5,000 calls of 800 ms at once {rows[0]['load']}: until the last answer"
    figure, axes = one_panel(title, "seconds", len(rows))
    bars(axes, rows, "wall_s", ".2f", log=True)
    axes.axvline(0.8, color="#444444", linewidth=0.8, linestyle=":")
    axes.set_xlim(0.5, axes.get_xlim()[1])
    axes.set_xlabel("seconds (dotted: the server's 0.8)")
    return figure


def concurrency_styles(result: dict[str, Any]) -> Figure:
    """Seconds for all calls."""
    rows = [*rows_of(result), *rows_of(result, "100 at a time")]
    figure, axes = one_panel("The same 5,000 calls of 47 ms, 100 at a time", "seconds", len(rows))
    bars(axes, rows, "whole_s", ",.1f", log=True)
    return figure


def policies_cost(result: dict[str, Any]) -> Figure:
    """CPU time of each policy, on one event loop."""
    rows = [row | {"loop": "none"} for row in rows_of(result) if row["loop"] == "uvloop"]
    bars_shown = [row | {"name": f"headrace: {row['name']}"} for row in rows if row["name"] != "none"]
    figure, axes = one_panel("CPU time of the policies", "CPU µs per call, uvloop", len(bars_shown))
    bars(axes, bars_shown, "cost_us", ".1f")
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
    axes.set_title("Memory over the size of the input")
    axes.set_xlabel("items of a bulk run, journal on")
    axes.set_ylabel("peak MB")
    return figure


def soak(result: dict[str, Any]) -> Figure:
    """Memory and objects over the calls made."""
    figure, (memory, objects) = two_panels(["Memory over the calls of one client", "Number of objects"])
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
    """Chunks per second if the server does not wait."""
    return bar_chart(result, "Chunks per second over 200 streams", "chunks/s", "per_s")


def startup(result: dict[str, Any]) -> Figure:
    """Milliseconds of each import."""
    return bar_chart(result, "Time of imports and of headrace --help", "ms", "wall_ms")


def tls(result: dict[str, Any]) -> Figure:
    """Calls per second, 100 in flight."""
    return bar_chart(result, "Calls per second over https, 100 in flight", "calls/s", "per_s")


def sdk(result: dict[str, Any]) -> Figure:
    """Calls per second of the official SDK over each HTTP client."""
    return bar_chart(result, "Calls per second of the official SDK", "calls/s", "per_s")


PLOTS: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "throughput": throughput,
    "latency": latency,
    "black_friday": black_friday,
    "concurrency_styles": concurrency_styles,
    "policies_cost": policies_cost,
    "memory": memory,
    "soak": soak,
    "streaming": streaming,
    "sdk": sdk,
    "startup": startup,
    "tls": tls,
}
