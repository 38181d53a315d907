"""The index of a journal: an SQLite file beside it, by which the page finds, counts and sorts its rows.

The index is made from the journal alone, grows with it, and can be deleted at any time. The journal itself is
only read.
"""

from headrace_view.index.builder import IndexBuilder
from headrace_view.index.comparison import SHOWN, Comparison, compare, find_pairs, other_row
from headrace_view.index.pairs import Pairs
from headrace_view.index.place import IndexPlace
from headrace_view.index.query import QueryError, RowQuery
from headrace_view.index.rows import RowSummary, count_rows, find_rows, line_of
from headrace_view.index.schema import open_for_reading
from headrace_view.index.totals import Totals

__all__ = [
    "SHOWN",
    "Comparison",
    "IndexBuilder",
    "IndexPlace",
    "Pairs",
    "QueryError",
    "RowQuery",
    "RowSummary",
    "Totals",
    "compare",
    "count_rows",
    "find_pairs",
    "find_rows",
    "line_of",
    "open_for_reading",
    "other_row",
]
