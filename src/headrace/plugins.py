"""What plugins are written with besides `headrace`: names that only their authors need.

Bulk runs, and engines for them, are written with `headrace.bulk`, tests with `headrace.testing`. All other
modules of headrace are its own, and may change without notice. Since 0.1.
"""

from headrace._support.bounded_mapping import BoundedMapping
from headrace._support.public_names import publish as _publish
from headrace._support.task_groups import task_group
from headrace._support.text import nearest
from headrace.limiters import Waiter, WaitingQueue
from headrace.pipeline.attempt import answered
from headrace.policies import BackgroundTasks, GroupOfClient
from headrace.settings import SHARED_FOLDER, SPENT_BEFORE
from headrace.settings.rate_limits import PerMinute, above_zero
from headrace.wire.batch_lines import EncodedBody
from headrace.wire.rejections import Evidence, Refusals, is_out_of_credit, is_per_day
from headrace.wire.request_bodies import encode_body, most_output
from headrace.wire.success_bodies import Expected, expected_of, read_envelope

__all__ = [
    "SHARED_FOLDER",
    "SPENT_BEFORE",
    "BackgroundTasks",
    "BoundedMapping",
    "EncodedBody",
    "Evidence",
    "Expected",
    "GroupOfClient",
    "PerMinute",
    "Refusals",
    "Waiter",
    "WaitingQueue",
    "above_zero",
    "answered",
    "encode_body",
    "expected_of",
    "is_out_of_credit",
    "is_per_day",
    "most_output",
    "nearest",
    "read_envelope",
    "task_group",
]

_publish(__all__, globals())
