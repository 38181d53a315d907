"""Parses an expression: a recursive descent over its tokens.

or          and ("or" and)*
and         not ("and" not)*
not         "not" not | comparison
comparison  operand (("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") operand)?
operand     value | name | "[" (operand ("," operand)*)? "]" | "(" or ")"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from headrace.bulk.expressions.comparison import COMPARISONS, as_condition
from headrace.bulk.expressions.tokens import syntax_error, tokens_of
from headrace.bulk.nested_keys import find_value
from headrace.errors import InputError

Node: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""Computes a value from a row."""

_DEEPEST = 30
"""Levels of brackets and of ``not``."""


@attrs.frozen
class _Part:
    """A parsed part: its place, and whether its value is true or false, or what kind of operand it is."""

    node: Node
    place: int
    kind: str = "condition"
    name: str = ""


class Parser:
    """Parses one text.

    Args:
        text: The text.

    Attributes:
        names: The names in it, in order, each once, with their places.

    Raises:
        InputError: The text is too long.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens_of(text)
        self._token = next(self._tokens)
        self._depth = 0
        self.names: dict[str, int] = {}

    def parse(self) -> Node:
        """The whole text as a condition; raises `InputError` if it is none."""
        if self._is_at_end():
            raise InputError("is empty; write a condition, like category == 'garden'")
        node = self._condition(self._or())
        if not self._is_at_end():
            raise self._error(
                "comparisons cannot be chained; join two with and"
                if self._token.value in COMPARISONS
                else "an operator is missing before this, like and, or, =="
            )
        return node

    def _or(self) -> _Part:
        return self._joined("or", self._and, any)

    def _and(self) -> _Part:
        return self._joined("and", self._not, all)

    def _joined(self, word: str, parse: Callable[[], _Part], join: Callable[[Iterable[bool]], bool]) -> _Part:
        first = parse()
        if not self._is("word", word):
            return first
        nodes = [self._condition(first)]
        while self._is("word", word):
            self._advance()
            nodes.append(self._condition(parse()))
        return _Part(lambda row: join(node(row) for node in nodes), first.place)

    def _not(self) -> _Part:
        if not self._is("word", "not"):
            return self._comparison()
        place = self._token.place
        self._advance()
        inner = self._condition(self._deeper(self._not))
        return _Part(lambda row: not inner(row), place)

    def _comparison(self) -> _Part:
        left = self._operand()
        operator = self._operator()
        if operator is None:
            return left
        compare, first, second = COMPARISONS[operator], left.node, self._operand().node
        return _Part(lambda row: compare(first(row), second(row)), left.place)

    def _operator(self) -> str | None:
        token = self._token
        if token.kind == "word" and token.value in ("in", "not"):
            self._advance()
            if token.value == "in":
                return "in"
            if not self._is("word", "in"):
                raise self._error("in is missing after not")
            self._advance()
            return "not in"
        if token.kind == "symbol" and token.value in COMPARISONS:
            self._advance()
            return str(token.value)
        return None

    def _operand(self) -> _Part:
        token = self._token
        if token.kind == "value":
            self._advance()
            kind = "condition" if token.value is None or isinstance(token.value, bool) else "constant"
            return _Part(lambda row: token.value, token.place, kind)
        if token.kind == "name":
            self._advance()
            if self._is("symbol", "("):
                raise self._error("functions cannot be called")
            name = str(token.value)
            self.names.setdefault(name, token.place)
            return _Part(
                lambda row: row[name] if name in row else find_value(row, name), token.place, "name", name
            )
        if self._is("symbol", "("):
            self._advance()
            part = self._deeper(self._or)
            self._expect(")")
            return part
        if self._is("symbol", "["):
            return self._list()
        raise self._error("a name or a value is missing here; put quotes around text")

    def _list(self) -> _Part:
        place = self._token.place
        self._advance()
        nodes: list[Node] = []
        while not self._is("symbol", "]"):
            nodes.append(self._deeper(self._operand).node)
            if not self._is("symbol", ","):
                break
            self._advance()
        self._expect("]")
        return _Part(lambda row: [node(row) for node in nodes], place, "constant")

    def _condition(self, part: _Part) -> Node:
        """The node of a part whose value must be true or false."""
        if part.kind == "constant":
            raise syntax_error(self._text, part.place, "this value must be compared with something")
        if part.kind == "condition":
            return part.node
        return lambda row: as_condition(part.node(row), part.name)

    def _deeper(self, parse: Callable[[], _Part]) -> _Part:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} levels of brackets; write it flatter")
        part = parse()
        self._depth -= 1
        return part

    def _is_at_end(self) -> bool:
        return self._token.kind == "end"

    def _is(self, kind: str, value: str) -> bool:
        return self._token.kind == kind and self._token.value == value

    def _expect(self, symbol: str) -> None:
        if not self._is("symbol", symbol):
            raise self._error(f"{symbol} is missing here")
        self._advance()

    def _advance(self) -> None:
        self._token = next(self._tokens)

    def _error(self, reason: str) -> InputError:
        return syntax_error(self._text, self._token.place, reason)
