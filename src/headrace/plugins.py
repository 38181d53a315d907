"""Names for plugin authors, in addition to those of `headrace`.

For bulk runs and their engines see `headrace.bulk`, for tests `headrace.testing`. All other modules of
headrace are internal and may change without notice. Since 0.1.
"""

import typing

from headrace._support.bounded_mapping import BoundedMapping
from headrace._support.public_names import fixup_module_metadata as _fixup_module_metadata
from headrace._support.public_names import renamed_member as _renamed_member
from headrace._support.task_groups import task_group
from headrace._support.text import nearest, shortened
from headrace._support.units import format_count, format_duration, format_rate, format_usd, parse_usd
from headrace._support.waiting_queue import Waiter, WaitingQueue
from headrace.pipeline.attempt import parse_reply
from headrace.policies import BackgroundTasks, TaskGroupFactory
from headrace.settings import SHARED_FOLDER, SPENT_BEFORE
from headrace.settings.rate_limits import PerMinute, positive_number
from headrace.wire.batch_lines import EncodedBody
from headrace.wire.finish_reasons import classify_finish_reason
from headrace.wire.prompt_tokens import estimate_prompt_tokens, most_prompt_tokens
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
    "PerMinute",
    "RateLimitDetector",
    "RateLimitEvidence",
    "TaskGroupFactory",
    "Waiter",
    "WaitingQueue",
    "classify_finish_reason",
    "encode_body",
    "estimate_prompt_tokens",
    "expected_body",
    "format_count",
    "format_duration",
    "format_rate",
    "format_usd",
    "is_daily_limit",
    "is_out_of_credit",
    "max_output_tokens",
    "most_prompt_tokens",
    "nearest",
    "parse_reply",
    "parse_usd",
    "positive_number",
    "read_reply_body",
    "shortened",
    "task_group",
]

_fixup_module_metadata(__all__, globals())


if not typing.TYPE_CHECKING:  # with it, a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Names of version 0.1; removed in 0.3."""
        renamed = {
            "Expected": "ExpectedBody",
            "GroupOfClient": "TaskGroupFactory",
            "above_zero": "positive_number",
            "answered": "parse_reply",
            "expected_of": "expected_body",
            "is_per_day": "is_daily_limit",
            "most_output": "max_output_tokens",
            "read_envelope": "read_reply_body",
        }
        return _renamed_member(name, renamed, globals())
