"""Where a bulk run's items come from: CSV, JSONL, Parquet or OpenAI's batch format, from a file or stdin."""

from headrace.bulk.sources.source import Item, Kind, Source

__all__ = ["Item", "Kind", "Source"]
