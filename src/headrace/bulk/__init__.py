"""Bulk runs: a file of items in, a file of outcomes out, without losing any."""

from headrace._support.regular_file import open_regular
from headrace.bulk.bulk_run import WAIT_FOR_ENDPOINT, BulkRun
from headrace.bulk.control import (
    CancelItems,
    Cancellation,
    Change,
    ControlMessage,
    Done,
    GetStatus,
    PauseRun,
    Refused,
    ResumeRun,
    RetryFailed,
    RunControl,
    RunSnapshot,
    RunStatus,
    SetLimit,
    StopRun,
    accompanied_in_thread,
    control_address,
    encode_message,
    ids_with_lines,
)
from headrace.bulk.drawn_items import DrawnItems
from headrace.bulk.dropped_cost import dropped_cost, record_dropped_cost
from headrace.bulk.engine_setup import EngineSetup
from headrace.bulk.executor import Executor, LocalExecutor, ResultHandler, WorkItem
from headrace.bulk.file_limit import raise_file_limit
from headrace.bulk.id_table import IdTable
from headrace.bulk.input_check import InputCheck
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.journal import Journal
from headrace.bulk.line_file import LineFile
from headrace.bulk.output_line import JournalEntry, OutputLine, decode_line
from headrace.bulk.output_status import read_status
from headrace.bulk.policy_circuits import open_circuits
from headrace.bulk.policy_limits import AdjustableLimits, set_policy_limit
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.progress import RateHistory, failure_rows, status_rows
from headrace.bulk.result import Result
from headrace.bulk.run import run
from headrace.bulk.run_facts import read_run_facts
from headrace.bulk.run_handle import Run
from headrace.bulk.run_lock import RunIdentity, lock_run, run_identity
from headrace.bulk.sources import Item, RowSource, Source, SourceKind
from headrace.bulk.sources.arrow_values import json_values
from headrace.bulk.sources.input_files import input_files
from headrace.bulk.summary import Summary
from headrace.bulk.summary_totals import decode_totals, encode_totals
from headrace.bulk.tables import write_table
from headrace.bulk.task import Task
from headrace.bulk.template import Template, as_text
from headrace.client.direct_calls import DirectCalls
from headrace.pipeline.bulk_engines import Engine, ExecutorEngine, Job

__all__ = [
    "BulkRun",
    "Journal",
    "LocalExecutor",
    "ProcessExecutor",
    "Result",
    "RowSource",
    "Run",
    "Source",
    "Summary",
    "Task",
    "run",
    "write_table",
]

# For the control of a run that goes on.
__all__ += [
    "AdjustableLimits",
    "CancelItems",
    "Cancellation",
    "Change",
    "ControlMessage",
    "Done",
    "GetStatus",
    "PauseRun",
    "Refused",
    "ResumeRun",
    "RetryFailed",
    "RunControl",
    "RunSnapshot",
    "RunStatus",
    "SetLimit",
    "StopRun",
    "accompanied_in_thread",
    "control_address",
    "encode_message",
    "ids_with_lines",
]

# For engines, which make the calls of a bulk run elsewhere.
__all__ += [
    "WAIT_FOR_ENDPOINT",
    "DirectCalls",
    "DrawnItems",
    "Engine",
    "EngineSetup",
    "Executor",
    "ExecutorEngine",
    "IdTable",
    "InputCheck",
    "Item",
    "ItemResult",
    "Job",
    "JournalEntry",
    "LineFile",
    "OutputLine",
    "ResultHandler",
    "RunIdentity",
    "SourceKind",
    "Template",
    "WorkItem",
    "as_text",
    "decode_line",
    "decode_totals",
    "dropped_cost",
    "encode_totals",
    "input_files",
    "item_result",
    "json_values",
    "lock_run",
    "open_circuits",
    "open_regular",
    "raise_file_limit",
    "record_dropped_cost",
    "run_identity",
    "set_policy_limit",
]

# For displays of a run that goes on, or has ended.
__all__ += [
    "RateHistory",
    "failure_rows",
    "read_run_facts",
    "read_status",
    "status_rows",
]
