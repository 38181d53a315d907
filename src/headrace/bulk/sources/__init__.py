"""The input of a bulk run: a table or a list of objects, from a file or stdin."""

from headrace.bulk.sources.detection import SourceKind
from headrace.bulk.sources.source import Item, Source, TaskInput

__all__ = ["Item", "Source", "SourceKind", "TaskInput"]
