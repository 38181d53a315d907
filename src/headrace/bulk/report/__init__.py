"""A page about a bulk run, made from its output only."""

from headrace.bulk.report.output_reader import read_statistics
from headrace.bulk.report.page import write_page
from headrace.bulk.report.statistics import Statistics

__all__ = ["Statistics", "read_statistics", "write_page"]
