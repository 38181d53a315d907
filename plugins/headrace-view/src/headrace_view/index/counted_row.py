"""What is counted of one row of a journal."""

from __future__ import annotations

import msgspec


class CountedRow(msgspec.Struct, gc=False):
    """The numbers and labels of a row.

    Attributes:
        failed: Whether the item failed.
        status: The HTTP status, None without a response.
        code: The kind of the error with its status or finish reason; empty for a success.
        reason: The finish reason; empty if unknown.
        answer: A short answer, by which rows can be filtered; None for a long or structured one.
        elapsed: Microseconds.
        cost: In 1/PICO USD; None if unknown.
        attempts: The number of attempts.
        tokens_in: Tokens of the prompt.
        tokens_out: Tokens of the answer.
        done_at: Unix milliseconds; None in lines of old versions.
    """

    failed: bool
    status: int | None
    code: str
    reason: str
    answer: str | None
    elapsed: int
    cost: int | None
    attempts: int
    tokens_in: int
    tokens_out: int
    done_at: int | None

    @property
    def answered(self) -> bool:
        """Whether there was a successful reply."""
        return self.status is not None and 200 <= self.status < 300
