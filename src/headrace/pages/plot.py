"""An SVG that is as wide as its page, with text of a fixed size.

Horizontal positions are shares of the width, vertical ones are pixels. The labels of the vertical axis are in
the padding of the frame, which the style makes as wide as they are long. The horizontal axis has two sets of
ticks, for wide and for narrow pages; the style of the page shows one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from xml.etree import ElementTree as ET

_HEIGHT = 170
_BELOW = 44
_LONGEST_TICK = 16
"""The most characters of a label of the vertical axis for which the style has room."""

_OVERLAP = 0.0002
"""Share of the width by which neighbouring bars overlap, so that rounding leaves no gap."""

_UNITS = 1000
"""Horizontal units of curves, which are stretched to the width of the page."""


class Plot:
    """A plot: text, bars, bands and curves, and its two axes.

    The style gives each ``kind`` its colour, as a class: ``done`` and ``failed`` of bars, ``v0`` to ``v5`` of
    bars and curves.

    Args:
        label: A sentence that says what the plot shows, for people who do not see it.
        ticks: The ticks of the vertical axis from 0 up; the last one is the height of the plot.
        above: The height of the room for text above the plot, in pixels.
        tick_label: Writes the label of a tick.

    Example:
        ```python
        plot = Plot("Calls in two seconds: 3, then 5.", count_ticks(5), above=6)
        plot.bar(0, 0.5, [("done", 3)], "first second: 3")
        plot.bar(0.5, 1, [("done", 5)], "next second: 5")
        plot.name_axis("time (s)")
        html = plot.svg()
        ```
    """

    def __init__(
        self,
        label: str,
        ticks: Sequence[float],
        above: float,
        *,
        tick_label: Callable[[float], str] = "{:,}".format,
    ) -> None:
        self._above = above
        self._highest = ticks[-1]
        names = [tick_label(tick) for tick in ticks]
        self._svg = ET.Element(
            "svg",
            {
                # No style attribute: the policy of a page may forbid it.
                "class": f"chart left-{min(max(map(len, names)), _LONGEST_TICK)}",
                "role": "img",
                "aria-label": label,
                "height": _pixels(above + _HEIGHT + _BELOW),
            },
        )
        for tick, name in zip(ticks, names, strict=True):
            y = self._y(tick)
            self._line("0%", y, "100%", y, "grid" if tick else "axis")
            self.text(0, y + 4, name, "end", "tick", dx=-8)

    def _y(self, count: float) -> float:
        return self._above + _HEIGHT * (1 - count / self._highest)

    def _line(self, x1: str, y1: float, x2: str, y2: float, kind: str) -> None:
        places = {"x1": x1, "y1": _pixels(y1), "x2": x2, "y2": _pixels(y2)}
        ET.SubElement(self._svg, "line", {"class": kind, **places})

    def text(self, at: float, y: float, text: str, anchor: str, kind: str, dx: float = 0) -> None:
        """Write text.

        Args:
            at: The share of the width at which it is.
            y: Pixels from the top to its foot.
            text: The text.
            anchor: What of it is there: "start", "middle" or "end".
            kind: Its class; "marked" is readable in front of bars.
            dx: Pixels by which it is moved to the right.
        """
        places = {"x": _share(at), "y": _pixels(y), "dx": _pixels(dx), "text-anchor": anchor}
        ET.SubElement(self._svg, "text", {"class": kind, **places}).text = text

    def bar(
        self,
        begin: float,
        end: float,
        parts: Iterable[tuple[str, float]],
        title: str,
        *,
        unfinished: bool = False,
    ) -> None:
        """Draw stacked counts between two shares of the width; even the smallest count is visible.

        Args:
            begin: The share of the width at which it begins.
            end: The share at which it ends.
            parts: Class and count of each part, from the bottom to the top.
            title: What it is, for the person who points at it.
            unfinished: Whether the counts are not complete yet; the bar is paler then.
        """
        group = ET.SubElement(self._svg, "g", {"class": "unfinished"} if unfinished else {})
        ET.SubElement(group, "title").text = title
        floor = float(self._above + _HEIGHT)
        for kind, count in parts:
            if count:
                height = max(1.5, _HEIGHT * count / self._highest)
                floor -= height
                places = {"x": _share(begin), "width": _share(end - begin + _OVERLAP)}
                places |= {"y": _pixels(floor), "height": _pixels(height)}
                ET.SubElement(group, "rect", {"class": kind, **places})

    def band(self, begin: float, end: float, kind: str, title: str, height: float | None = None) -> None:
        """Shade a part of the width.

        Args:
            begin: The share of the width at which it begins.
            end: The share at which it ends.
            kind: Its class; "spot" is invisible, and only has the title.
            title: What it is, for the person who points at it.
            height: Pixels at the top; by default the whole height of the plot below the room for text.
        """
        top, high = (self._above, _HEIGHT) if height is None else (0, height)
        places = {"x": _share(begin), "width": _share(end - begin + _OVERLAP)}
        places |= {"y": _pixels(top), "height": _pixels(high)}
        ET.SubElement(ET.SubElement(self._svg, "rect", {"class": kind, **places}), "title").text = title

    def curve(self, points: Iterable[tuple[float, float | None]], kind: str) -> None:
        """Draw a line through values, and a dot where a value has no neighbour.

        Args:
            points: Shares of the width, and the values there; None makes a gap.
            kind: Its class.
        """
        runs: list[list[tuple[float, float]]] = [[]]
        for at, value in points:
            if value is None:
                runs.append([])
            else:
                runs[-1].append((at, value))
        # Only a stretched picture in the picture accepts shares as positions of a path.
        stretched = {"y": _pixels(self._above), "width": "100%", "height": _pixels(_HEIGHT)}
        stretched |= {"viewBox": f"0 0 {_UNITS} {_HEIGHT}", "preserveAspectRatio": "none"}
        lines = [
            "L".join(f"{_pixels(_UNITS * at)} {_pixels(self._y(value) - self._above)}" for at, value in run)
            for run in runs
            if len(run) > 1
        ]
        if lines:
            inner = ET.SubElement(self._svg, "svg", stretched)
            ET.SubElement(
                inner, "path", {"class": f"curve {kind}", "d": "".join(f"M{line}" for line in lines)}
            )
        for run in runs:
            if len(run) == 1:
                ((at, value),) = run
                self._line(_share(at), self._y(value), _share(at), self._y(value), f"dot {kind}")

    def rule(self, at: float, y: float, kind: str) -> None:
        """Draw a vertical line down to the axis.

        Args:
            at: The share of the width at which it is.
            y: Pixels from the top to its begin.
            kind: Its class: "mark" or "pause".
        """
        self._line(_share(at), y, _share(at), self._above + _HEIGHT, kind)

    def across(self, ticks: Iterable[tuple[float, str]], kind: str) -> None:
        """Draw ticks of the horizontal axis.

        Args:
            ticks: Shares of the width, and their labels.
            kind: The pages that show these ticks: "wide" or "narrow".
        """
        bottom = self._above + _HEIGHT
        for at, text in ticks:
            self._line(_share(at), bottom, _share(at), bottom + 4, f"axis {kind}")
            self.text(at, bottom + 18, text, "middle", f"tick {kind}")

    def name_axis(self, name: str) -> None:
        """Write the name of the horizontal axis."""
        self.text(0.5, self._above + _HEIGHT + 38, name, "middle", "name")

    def svg(self) -> str:
        """The SVG, with all text escaped."""
        return ET.tostring(self._svg, encoding="unicode")


def _share(share: float) -> str:
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def _pixels(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")
