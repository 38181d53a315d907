"""Bulk runs: a file of items in, a file of outcomes out, and nothing lost in between."""

from headrace.bulk.crew import LocalCrew
from headrace.bulk.journal import Journal
from headrace.bulk.processes import ProcessCrew
from headrace.bulk.run import BulkRun, run
from headrace.bulk.sources import Source
from headrace.bulk.summary import Summary
from headrace.bulk.tables import write_table
from headrace.bulk.task import Task

__all__ = [
    "BulkRun",
    "Journal",
    "LocalCrew",
    "ProcessCrew",
    "Source",
    "Summary",
    "Task",
    "run",
    "write_table",
]
