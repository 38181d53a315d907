"""Bulk runs: a file of items in, a file of outcomes out, and nothing lost in between."""

from headrace.bulk.appending import LineFile
from headrace.bulk.claim import lock_run
from headrace.bulk.dropped import note_dropped, spent_on_dropped
from headrace.bulk.executor import Executor, LocalExecutor, Take, WorkItem
from headrace.bulk.journal import Journal
from headrace.bulk.open_files import allow_files
from headrace.bulk.processes import ProcessExecutor
from headrace.bulk.records import Line
from headrace.bulk.result import Result, result_of
from headrace.bulk.run import WAIT_FOR_ENDPOINT, BulkRun, run
from headrace.bulk.sources import Item, Kind, Source
from headrace.bulk.sources.parquet_rows import json_values
from headrace.bulk.summary import Summary
from headrace.bulk.tables import write_table
from headrace.bulk.tables.answers import decode_answered
from headrace.bulk.task import Task
from headrace.bulk.template import Template, as_text
from headrace.pipeline.engines import Engine, Job

__all__ = [
    "BulkRun",
    "Journal",
    "LocalExecutor",
    "ProcessExecutor",
    "Source",
    "Summary",
    "Task",
    "run",
    "write_table",
]

# What engines are written with, which make the calls of a bulk run elsewhere.
__all__ += [
    "WAIT_FOR_ENDPOINT",
    "Engine",
    "Executor",
    "Item",
    "Job",
    "Kind",
    "Line",
    "LineFile",
    "Result",
    "Take",
    "Template",
    "WorkItem",
    "allow_files",
    "as_text",
    "decode_answered",
    "json_values",
    "lock_run",
    "note_dropped",
    "result_of",
    "spent_on_dropped",
]
