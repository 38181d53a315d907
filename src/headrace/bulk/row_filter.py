"""The rows of an input for which a condition over their columns is true."""

from __future__ import annotations

import attrs

from headrace._support.text import nearest, quoted
from headrace.bulk.expressions import Expression
from headrace.bulk.nested_keys import value_at
from headrace.bulk.sources import Item, RowSource, Source
from headrace.errors import InputError

FILTER = "filter:"
"""What a filter begins with in ``only=``."""

_WHERE = "only=filter"
"""The beginning of messages."""


def _as_expression(text: str) -> Expression:
    try:
        return Expression(text.strip())
    except InputError as error:
        raise InputError(f"{_WHERE}: {error}") from None


@attrs.frozen
class RowFilter:
    """Chooses the rows for which a condition is true. A column that a row lacks is null.

    Args:
        condition: The condition.

    Raises:
        InputError: It is not an expression.
    """

    condition: Expression = attrs.field(converter=_as_expression)

    def contains(self, item: Item) -> bool:
        """Whether the condition is true for a row; raises `InputError` if it has no such value."""
        try:
            return self.condition.holds(item.row)
        except InputError as error:
            raise InputError(f"{_WHERE}: row of {quoted(item.id)}: {error}") from None

    def check_known(self, source: Source | RowSource) -> None:
        """Read until each name was found in a row, and one row was chosen.

        Raises:
            InputError: No row has a column of the condition, or the condition is true for no row.
        """
        if source.kind == "batch":
            raise InputError(
                f"{_WHERE}: {source.name} is OpenAI's batch format, which has no columns; choose by ids"
            )
        unknown, known, found = list(self.condition.names), dict[str, None](), False
        for item in source.items():
            found = found or self.contains(item)
            if unknown:
                unknown = [name for name in unknown if not _has(item, name)]
                known |= dict.fromkeys(item.row)
            if found and not unknown:
                return
        if unknown:
            reason = f"no row of {source.name} has this column; {nearest(unknown[0], known)}"
            raise InputError(f"{_WHERE}: {self.condition.unknown_name(unknown[0], reason)}")
        raise InputError(f"{_WHERE}: true for no row of {source.name}; nothing was sent")


def _has(item: Item, name: str) -> bool:
    try:
        value_at(item.row, name)
    except KeyError:
        return False
    return True
