"""What a run replies to a control message: typed and versioned, as JSON.

The reply to ``status`` is the snapshot, see `RunSnapshot.to_json`.
"""

from __future__ import annotations

import msgspec

from headrace.bulk.control.messages import VERSION
from headrace.bulk.control.records import Change


class _Reply(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    version: int = VERSION


class Done(_Reply, tag="done", frozen=True):
    """The message was carried out.

    Attributes:
        message: What follows from it, as a sentence for a person.
        change: What was changed; None for nothing.
        cancelled: The ids that fail because they were cancelled.
        finished: The ids that cannot be cancelled because they are done.
        unknown: The ids that the input does not have.
    """

    message: str
    change: Change | None = None
    cancelled: list[str] = []
    finished: list[str] = []
    unknown: list[str] = []


class Refused(_Reply, tag="refused", frozen=True):
    """The message was not carried out.

    Attributes:
        message: Why, and what to do.
    """

    message: str
