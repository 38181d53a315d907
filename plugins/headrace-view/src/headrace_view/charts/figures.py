"""A chart with its caption and the key of its colours."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs
from markupsafe import Markup, escape

from headrace.pages import page_templates

if TYPE_CHECKING:
    import jinja2  # takes long to import: the first chart does


@attrs.frozen
class Figure:
    """A chart to show.

    Args:
        about: What the chart shows, before the key.
        keys: Class and name of each colour, in the order of the chart from the bottom.
        svg: The chart.
    """

    about: str
    keys: tuple[tuple[str, str], ...]
    svg: str

    def markup(self) -> Markup:
        """The figure as HTML."""
        template = _templates().get_template("figure.html.j2")
        return Markup(template.render(about=self.about, keys=self.keys, svg=Markup(self.svg)).strip())


def empty_figure(message: str) -> Markup:
    """What is shown where there is nothing to draw."""
    return Markup('<p class="about">{}</p>').format(escape(message))


@functools.cache
def _templates() -> jinja2.Environment:
    return page_templates("headrace_view.charts")
