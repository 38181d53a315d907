"""The answers of a run as one table in the order of the input, CSV or Parquet."""

from headrace.bulk.tables.table import Table, is_table, lines_of, write_table

__all__ = ["Table", "is_table", "lines_of", "write_table"]
