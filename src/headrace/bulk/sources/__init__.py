"""Where a bulk run's items come from: CSV, JSONL, Parquet or OpenAI's batch format, from a file or stdin."""

from headrace.bulk.sources.source import Item, Items, Kind, Source

__all__ = ["Item", "Items", "Kind", "Source"]
