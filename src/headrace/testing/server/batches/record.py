"""A batch as the API shows it."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import attrs

from headrace.testing.server.batches.execution import Result
from headrace.testing.server.batches.files import DAY
from headrace.testing.server.batches.input_validation import BatchError

_STAMPED = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
_FINISHED = ("completed", "failed", "expired", "cancelled")


@attrs.define(kw_only=True, eq=False)
class BatchRecord:
    """The members of a batch. Times are Unix times in seconds.

    Args:
        input_file_id: The id of the input file.
        endpoint: The path that the batch calls, such as ``/v1/embeddings``.
        metadata: The metadata of its creator.
        created_at: When it was created.
        listed_from: From then on it is in the list of batches.
        id: Its id; new for each batch, also in another process with the same seed.
        status: Its status.
        model: The model of its requests.
        total: Number of its requests.
        completed: Number of its requests that got an answer.
        failed: Number of its requests that ended with an error.
        input_tokens: Tokens of the answered requests.
        output_tokens: Tokens of the answers.
        errors: Why it failed.
        output_file_id: The id of the file with the answers.
        error_file_id: The id of the file with the errors.
        entered: When it entered each status.
    """

    input_file_id: str
    endpoint: str
    metadata: Mapping[str, str] | None
    created_at: float
    listed_from: float
    id: str = attrs.field(factory=lambda: f"batch_{uuid4().hex}")
    status: str = "validating"
    model: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: list[BatchError] = attrs.field(factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    entered: dict[str, float] = attrs.field(factory=dict)

    @property
    def finished(self) -> bool:
        """Whether its status is the last one."""
        return self.status in _FINISHED

    def enter(self, status: str, at: float) -> None:
        """Change the status."""
        self.status = status
        self.entered[status] = at

    def count(self, result: Result) -> None:
        """Count the result of an executed request."""
        if result.failed:
            self.failed += 1
        else:
            self.completed += 1
        self.input_tokens += result.input_tokens
        self.output_tokens += result.output_tokens

    def body(self) -> dict[str, Any]:
        """The object of the API."""
        entered = {name: self.entered.get(name) for name in _STAMPED}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created_at),
            "expires_at": int(self.created_at + DAY),
            **{f"{name}_at": None if at is None else int(at) for name, at in entered.items()},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.input_tokens + self.output_tokens,
            },
            "metadata": self.metadata,
        }
