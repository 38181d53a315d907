"""A page about a bulk run, made from its output alone."""

from headrace.bulk.report.page import write_page
from headrace.bulk.report.reading import read
from headrace.bulk.report.statistics import Statistics

__all__ = ["Statistics", "read", "write_page"]
