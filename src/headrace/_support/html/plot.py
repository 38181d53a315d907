"""An SVG that is as wide as its page, with text of a fixed size.

Horizontal positions are shares of the width, vertical ones are pixels. The labels of the vertical axis are in
the padding of the frame. The horizontal axis has two sets of ticks, for wide and for narrow pages; the style
of the page shows one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

_HEIGHT = 170
_BELOW = 44
_DIGIT = 7.5
_OVERLAP = 0.0002
"""Share of the width by which neighbouring bars overlap, so that rounding leaves no gap."""


class Plot:
    """A plot with room for text in the ``above`` pixels at its top; ``label`` describes it in a sentence."""

    def __init__(self, label: str, counts: Sequence[int], above: int) -> None:
        self._above = above
        self._highest = counts[-1]
        names = [f"{count:,}" for count in counts]
        left = max(map(len, names)) * _DIGIT + 8
        self._svg = ET.Element(
            "svg",
            {
                "class": "chart",
                "role": "img",
                "aria-label": label,
                "style": f"--left: {left:.0f}px; --height: {above + _HEIGHT + _BELOW}px",
            },
        )
        for count, name in zip(counts, names, strict=True):
            y = self._y(count)
            self._line("0%", y, "100%", y, "axis" if count == 0 else "grid")
            self.text(0, y + 4, name, "end", "tick", dx=-8)

    def _y(self, count: float) -> float:
        return self._above + _HEIGHT * (1 - count / self._highest)

    def _line(self, x1: str, y1: float, x2: str, y2: float, kind: str) -> None:
        places = {"x1": x1, "y1": _pixels(y1), "x2": x2, "y2": _pixels(y2)}
        ET.SubElement(self._svg, "line", {"class": kind, **places})

    def text(self, at: float, y: float, text: str, anchor: str, kind: str, dx: float = 0) -> None:
        """Write text at a share of the width and ``y`` pixels from the top."""
        places = {"x": _share(at), "y": _pixels(y), "dx": _pixels(dx), "text-anchor": anchor}
        ET.SubElement(self._svg, "text", {"class": kind, **places}).text = text

    def bar(self, begin: float, end: float, parts: Iterable[tuple[str, float]], title: str) -> None:
        """Draw stacked counts between two shares of the width; even the smallest count is visible."""
        group = ET.SubElement(self._svg, "g")
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
        """Shade a part of the width: over the whole height, or ``height`` pixels at the top."""
        top, high = (self._above, _HEIGHT) if height is None else (0, height)
        places = {"x": _share(begin), "width": _share(end - begin + _OVERLAP)}
        places |= {"y": _pixels(top), "height": _pixels(high)}
        ET.SubElement(ET.SubElement(self._svg, "rect", {"class": kind, **places}), "title").text = title

    def curve(self, points: Iterable[tuple[float, float | None]], kind: str) -> None:
        """Draw a line through counts at shares of the width; None makes a gap.

        It consists of single lines, because no other SVG shape accepts shares as positions.
        """
        before: tuple[float, float] | None = None
        for at, count in points:
            if count is not None and before is not None:
                self._line(_share(before[0]), self._y(before[1]), _share(at), self._y(count), kind)
            before = None if count is None else (at, count)

    def rule(self, at: float, y: float, kind: str) -> None:
        """Draw a vertical line from ``y`` pixels below the top to the axis."""
        self._line(_share(at), y, _share(at), self._above + _HEIGHT, kind)

    def across(self, ticks: Iterable[tuple[float, str]], kind: str) -> None:
        """Draw the ticks of the horizontal axis, for pages of one ``kind``: wide or narrow."""
        bottom = self._above + _HEIGHT
        for at, text in ticks:
            self._line(_share(at), bottom, _share(at), bottom + 4, f"axis {kind}")
            self.text(at, bottom + 18, text, "middle", f"tick {kind}")

    def name_axis(self, name: str) -> None:
        """Write the name of the horizontal axis."""
        self.text(0.5, self._above + _HEIGHT + 38, name, "middle", "name")

    def svg(self) -> str:
        """The markup, with all text escaped."""
        return ET.tostring(self._svg, encoding="unicode")


def _share(share: float) -> str:
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def _pixels(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")
