"""An expression: a condition over the values of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from headrace.bulk.expressions.parser import Node, Parser
from headrace.bulk.expressions.tokens import syntax_error
from headrace.errors import InputError


@attrs.frozen
class Expression:
    """A condition, like ``category == 'garden' and price > 10``.

    It has names of columns, also ``a.b`` for the key ``b`` of the object in column ``a``, and a name in
    backticks for one with spaces; texts in quotes, numbers, ``true``, ``false``, ``null`` and lists; ``==``,
    ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``, ``not``, ``and``, ``or`` and parentheses.
    Nothing in it can be called.

    Args:
        text: The expression.

    Attributes:
        names: Its names, in order, each once.

    Raises:
        InputError: The text is not an expression; the message shows the place.
    """

    text: str
    names: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _places: Mapping[str, int] = attrs.field(init=False, repr=False, eq=False)
    _node: Node = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        parser = Parser(self.text)
        object.__setattr__(self, "_node", parser.parse())
        object.__setattr__(self, "_places", parser.names)
        object.__setattr__(self, "names", tuple(parser.names))

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it is true for a row. A name that the row lacks is null.

        Raises:
            InputError: A value that is neither true nor false stands where a condition must.
        """
        return bool(self._node(row))

    def unknown_name(self, name: str, reason: str) -> InputError:
        """The error for a name of this expression that is not known, which shows its place."""
        return syntax_error(self.text, self._places[name], reason)
