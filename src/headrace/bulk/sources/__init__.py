"""The input of a bulk run: CSV, JSONL, Parquet or OpenAI's batch format, from a file or stdin."""

from headrace.bulk.sources.source import Item, Source, SourceKind, TaskInput

__all__ = ["Item", "Source", "SourceKind", "TaskInput"]
