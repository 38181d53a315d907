"""What plugins are written with besides `headrace`: names that only their authors need.

Bulk runs, and engines for them, are written with `headrace.bulk`, tests with `headrace.testing`. All other
modules of headrace are its own, and may change without notice. Since 0.1.
"""

import warnings
from typing import TYPE_CHECKING

from headrace._support.bounded_mapping import BoundedMapping
from headrace._support.public_names import publish as _publish
from headrace._support.task_groups import task_group
from headrace._support.text import nearest
from headrace.limiters import Waiter, WaitingQueue
from headrace.pipeline.attempt import parse_reply
from headrace.policies import BackgroundTasks, GroupOfClient
from headrace.settings import SHARED_FOLDER, SPENT_BEFORE
from headrace.settings.rate_limits import PerMinute, above_zero
from headrace.wire.batch_lines import EncodedBody
from headrace.wire.rate_limit_detector import (
    RateLimitDetector,
    RateLimitEvidence,
    is_daily_limit,
    is_out_of_credit,
)
from headrace.wire.reply_bodies import ExpectedBody, expected_body, read_reply_body
from headrace.wire.request_bodies import encode_body, max_output_tokens

__all__ = [
    "SHARED_FOLDER",
    "SPENT_BEFORE",
    "BackgroundTasks",
    "BoundedMapping",
    "EncodedBody",
    "ExpectedBody",
    "GroupOfClient",
    "PerMinute",
    "RateLimitDetector",
    "RateLimitEvidence",
    "Waiter",
    "WaitingQueue",
    "above_zero",
    "encode_body",
    "expected_body",
    "is_daily_limit",
    "is_out_of_credit",
    "max_output_tokens",
    "nearest",
    "parse_reply",
    "read_reply_body",
    "task_group",
]

_publish(__all__, globals())

_RENAMED = {
    "Expected": "ExpectedBody",
    "answered": "parse_reply",
    "expected_of": "expected_body",
    "is_per_day": "is_daily_limit",
    "most_output": "max_output_tokens",
    "read_envelope": "read_reply_body",
}

if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Return what a name of 0.1 is called now; until 0.3."""
        if name not in _RENAMED:
            raise AttributeError(f"module 'headrace.plugins' has no attribute {name!r}")
        new = _RENAMED[name]
        warnings.warn(
            f"headrace.plugins.{name} is headrace.plugins.{new} now", DeprecationWarning, stacklevel=2
        )
        return globals()[new]
