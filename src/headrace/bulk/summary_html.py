"""The summary of a run as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from headrace.bulk.summary_text import LABEL_WIDTH, describe

if TYPE_CHECKING:
    from headrace.bulk.summary import Summary


def to_html(summary: Summary) -> str:
    """The lines of `describe` as a table, escaped."""
    title, *lines = describe(summary).splitlines()
    rows = [
        f'<tr><th style="text-align:left">{escape(line[:LABEL_WIDTH].strip())}</th>'
        f'<td style="text-align:left">{escape(line[LABEL_WIDTH:])}</td></tr>'
        for line in lines
    ]
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"
