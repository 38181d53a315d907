"""Finds out which character separates the columns of a CSV file.

A delimiter must occur in the header, outside quotes. It is the one by which most rows have as many values as
the header. `csv.Sniffer` counts characters instead, and so is misled by texts with commas.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import islice

import attrs

from headrace.errors import InputError

_USUAL = ",;\t|"
_UNUSUAL = re.compile(r"[#:\\^`~¦§\x01\x1c-\x1f]")
"""What may separate columns, but only if all rows agree: it may also be a part of a single name."""

_DECLARATION = re.compile(r""""?sep=([^\w\s"]|\t)"?[\r\n]*""", re.ASCII)
"""The first line by which a file tells Excel its delimiter."""

BLANK = " \t\r\n\v\f"
"""What makes a line blank; more characters are spaces in Unicode, even some control characters."""

_MOST_ROWS = 200


@attrs.frozen
class CsvForm:
    """How to read a CSV file: its delimiter, and the number of lines above the header."""

    delimiter: str
    lines_above: int


@attrs.frozen(order=True)
class _Fit:
    """How well a delimiter fits; the better one is greater."""

    share_of_rows: float
    names_begin_with_text: bool
    columns: int
    all_named: bool
    delimiter: str = attrs.field(eq=False, order=False)


def csv_form(lines: Sequence[str], name: str, *, complete: bool) -> CsvForm:
    """How to read the CSV file that begins with these lines.

    Args:
        lines: The first lines, with their ends; at least one is not blank.
        name: The file, for messages.
        complete: Whether these are all lines of the file.

    Raises:
        InputError: Two delimiters fit equally well.
    """
    above = next(number for number, line in enumerate(lines) if line.strip(BLANK))
    if declared := _DECLARATION.fullmatch(lines[above]):
        return CsvForm(declared[1], above + 1)
    rows = lines[above:]
    usual = [fit for each in _USUAL if (fit := _fit(rows, each, complete)) is not None]
    usual.sort(reverse=True)
    if len(usual) > 1 and usual[0] == usual[1]:
        first, second = (repr(fit.delimiter) for fit in usual[:2])
        raise InputError(
            f"{name}:{above + 1}: both {first} and {second} could separate the columns; "
            f"put a line above the header: sep={usual[0].delimiter} or sep={usual[1].delimiter}"
        )
    if usual:
        return CsvForm(usual[0].delimiter, above)
    others = dict.fromkeys(_UNUSUAL.findall(rows[0]))
    found = [fit for each in others if (fit := _fit(rows, each, complete)) is not None]
    found = [fit for fit in found if fit.share_of_rows == 1 and fit.names_begin_with_text and fit.all_named]
    # A file of one column has no delimiter.
    return CsvForm(max(found).delimiter if found and len(rows) > 1 else ",", above)


def _fit(lines: Sequence[str], delimiter: str, complete: bool) -> _Fit | None:
    """How well a delimiter fits, None if it does not occur in the header outside quotes."""
    rows: list[list[str]] = []
    torn = False
    try:
        for row in islice(csv.reader(lines, delimiter=delimiter, strict=True), _MOST_ROWS + 1):
            rows += [row] if row else []
    except csv.Error as error:
        # A quoted value may go on behind the sample.
        torn = complete or "end of data" not in str(error)
    if not rows or len(rows[0]) < 2:
        return None
    header, *rest = rows
    fitting = sum(len(row) == len(header) for row in rest)
    share = fitting / (len(rest) + torn) if rest or torn else 1.0
    begin_with_text = not any(name.startswith(" ") for name in header)
    return _Fit(share, begin_with_text, len(header), all(map(str.strip, header)), delimiter)
