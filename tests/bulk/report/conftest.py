"""Output lines, made by the code of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headrace.bulk.line_encoding import encode_line
from headrace.calls import Outcome
from headrace.errors import CallError, StatusError
from headrace.replies import Headers, Reply

START = 1.7e9


def _line(
    index: int = 0,
    *,
    error: CallError | None = None,
    body: Any = None,
    cost: str | None = None,
    attempts: int = 1,
    elapsed: float = 0.5,
    at: float = 0.0,
) -> bytes:
    reply = None
    if error is None or (body is not None and not isinstance(error, StatusError)):
        reply = Reply(
            200, Headers([]), json.dumps(body or {}).encode(), cost=(cost and Decimal(cost)) or None
        )
    outcome = Outcome(index, None, reply, error, attempts, elapsed)
    return encode_line(index, f"item {index}", outcome, None, error, START + at)


@pytest.fixture(scope="session")
def line() -> Callable[..., bytes]:
    """Makes the output line of an item; ``at`` is seconds after a time in 2023."""
    return _line
