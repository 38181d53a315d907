"""The control of a run that goes on: its snapshot, and the messages that change it."""

from headrace.bulk.cancellation import Cancellation, ids_with_lines
from headrace.bulk.control.accompanied import accompanied_in_thread
from headrace.bulk.control.messages import (
    CancelItems,
    ControlMessage,
    GetStatus,
    PauseRun,
    ResumeRun,
    RetryFailed,
    SetLimit,
    StopRun,
    encode_message,
)
from headrace.bulk.control.records import Change, control_address
from headrace.bulk.control.replies import Done, Refused
from headrace.bulk.control.run_control import RunControl
from headrace.bulk.control.snapshot import RunSnapshot, RunStatus

__all__ = [
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
