"""The input of a bulk run: a table or a list of objects, from a file, stdin or Python code."""

from headrace.bulk.sources.detection import SourceKind
from headrace.bulk.sources.inputs import RowsLike, as_input
from headrace.bulk.sources.item import Item, TaskInput
from headrace.bulk.sources.row_source import IdFunction, RowSource
from headrace.bulk.sources.source import Source

__all__ = [
    "IdFunction",
    "Item",
    "RowSource",
    "RowsLike",
    "Source",
    "SourceKind",
    "TaskInput",
    "as_input",
]
