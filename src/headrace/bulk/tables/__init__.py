"""A run's answers as one table in the input's order, CSV or Parquet."""

from headrace.bulk.tables.table import Table, write_table

__all__ = ["Table", "write_table"]
