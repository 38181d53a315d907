"""What rows to find: a search and filters, from the parameters of a request, as SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import attrs

from headrace_view.index.line_facts import PICO
from headrace_view.index.schema import spaced

PAGE = 50
"""Rows of a page."""

SORTED = 10_000
"""Rows that can be reached if they are sorted: the first ones of each order are what is looked for."""

_LONGEST_SEARCH = 1000
_PREFIX = 3
"""Characters of a word from which on its beginning is enough to find it."""

_ORDERS = {"line": "id", "latency": "elapsed", "cost": "cost"}
_FACETS = ("code", "reason", "answer")
_WORD = re.compile(r'"([^"]*)"?|([^\s"]+)')
_CONTROL = re.compile(r"[\x00-\x1f]")


class QueryError(ValueError):
    """A parameter of a request that cannot be used."""


@attrs.frozen(kw_only=True)
class RowQuery:
    """A search and filters.

    Args:
        search: Words that the id, the answer or the message contains; of the last letters of each some may be
            missing. Words in quotes must follow each other.
        names_only: Whether only ids are searched.
        outcome: "succeeded", "failed", or "" for both.
        status: The HTTP status; "none" without a response, "" for any.
        code: The kind of the error.
        reason: The finish reason.
        answer: The answer.
        latency: The least and the greatest latency in seconds; None for no limit.
        cost: The least and the greatest cost in USD; None for no limit.
        order: "line", "latency" or "cost".
        descending: Whether the greatest are first.
        page: The number of the page, from 0.
    """

    search: str = ""
    names_only: bool = False
    outcome: str = ""
    status: str = ""
    code: str = ""
    reason: str = ""
    answer: str = ""
    latency: tuple[float | None, float | None] = (None, None)
    cost: tuple[float | None, float | None] = (None, None)
    order: str = "line"
    descending: bool = False
    page: int = 0

    @classmethod
    def of_parameters(cls, given: Mapping[str, str], *, names_only: bool = False) -> RowQuery:
        """The query of a request; raises `QueryError` for a value that cannot be used."""
        order, outcome, status = given.get("order", "line"), given.get("outcome", ""), given.get("status", "")
        if order not in _ORDERS:
            raise QueryError(f"order: must be one of {', '.join(_ORDERS)}")
        if outcome not in ("", "succeeded", "failed"):
            raise QueryError("outcome: must be succeeded or failed")
        if status not in ("", "none") and not re.fullmatch(r"\d{1,6}", status, re.ASCII):
            raise QueryError("status: must be a number")
        page = given.get("page", "0")
        if not re.fullmatch(r"\d{1,9}", page, re.ASCII):
            raise QueryError("page: must be a number from 0")
        return cls(
            search=given.get("search", "")[:_LONGEST_SEARCH],
            names_only=names_only,
            outcome=outcome,
            status=status,
            code=given.get("code", ""),
            reason=given.get("reason", ""),
            answer="" if names_only else given.get("answer", ""),
            latency=(_number(given, "latency-from"), _number(given, "latency-to")),
            cost=(_number(given, "cost-from"), _number(given, "cost-to")),
            order=order,
            descending=given.get("descending") == "1",
            page=int(page),
        )

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves out any rows."""
        return bool(self.search.strip() or self.conditions()[0])

    @property
    def reachable(self) -> int | None:
        """How many rows pages can show; None for all."""
        return SORTED if self.order != "line" and self.is_filtered else None

    @property
    def order_by(self) -> str:
        """The ``ORDER BY`` of the rows."""
        direction = "DESC" if self.descending else "ASC"
        if self.order == "line":
            return f"{'words.rowid' if self.search.strip() else 'rows.id'} {direction}"
        return f"rows.{_ORDERS[self.order]} {direction}, rows.id {direction}"

    @property
    def index(self) -> str:
        """The index of the rows that leaves out the most; empty for the choice of SQLite."""
        if self.outcome == "failed" or self.code:
            return "INDEXED BY rows_failed"
        if self.answer:
            return "INDEXED BY rows_answer"
        return "INDEXED BY rows_reason" if self.reason else ""

    @property
    def match(self) -> str:
        """The search in the language of FTS5, without its filters; empty without words."""
        found = []
        for phrase, word in _WORD.findall(_CONTROL.sub(" ", self.search)):
            text = spaced(phrase or word).strip().replace('"', '""')
            if any(character.isalnum() for character in text):
                is_beginning = word and len(word) >= _PREFIX and word[-1].isalnum()
                found.append(f'"{text}"{"*" if is_beginning else ""}')
        if not found:
            return '""' if self.search.strip() else ""  # only punctuation, which no index has
        return f"{{{'name' if self.names_only else 'name answer message'}}} : ({' AND '.join(found)})"

    @property
    def facets(self) -> list[tuple[str, str]]:
        """The kinds and texts of the terms that rows must have."""
        return [(facet, text) for facet in _FACETS if (text := getattr(self, facet))]

    def conditions(self) -> tuple[list[str], list[Any]]:
        """The conditions of the filters, and their values."""
        wanted: list[str] = []
        values: list[Any] = []
        if self.outcome == "succeeded":
            wanted.append("+rows.failed = 0")  # most rows: an index would only be in the way of their order
        if self.outcome == "failed" or self.code:
            wanted.append("rows.failed = 1")
        if self.status:
            wanted.append("rows.status IS ?")
            values.append(None if self.status == "none" else int(self.status))
        for kind, text in self.facets:
            wanted.append(f"rows.{kind} = (SELECT id FROM terms WHERE kind = ? AND text = ?)")
            values += [kind, text]
        ranges, limits = self.ranges()
        return wanted + ranges, values + limits

    def ranges(self) -> tuple[list[str], list[Any]]:
        """The conditions of the numbers, and their values."""
        wanted: list[str] = []
        values: list[Any] = []
        for column, (least, most), unit in (("elapsed", self.latency, 1e6), ("cost", self.cost, PICO)):
            for limit, sign in ((least, ">="), (most, "<=")):
                if limit is not None:
                    wanted.append(f"rows.{column} {sign} ?")
                    values.append(min(limit * unit, 9e18))
        return wanted, values


def _number(given: Mapping[str, str], name: str) -> float | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise QueryError(f"{name}: must be a number from 0")
    return number
