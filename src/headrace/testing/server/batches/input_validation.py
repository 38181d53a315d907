"""Checks the input file of a batch, in steps, and finds its requests."""

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.model_requests import parse_request
from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.stored_content import StoredContent

_MOST_ERRORS = 100

BatchError = dict[str, Any]


class InputValidation:
    """The check of an input file.

    Attributes:
        positions: Where the line of each request begins.
        errors: What is wrong, as the API shows it; at most 100.
        model: The model of the requests.
        tokens: Input tokens of the requests; counted only if they are limited.

    Args:
        content: The file.
        endpoint: The path that the batch calls, such as ``/v1/embeddings``.
        behaviour: The limits.
        enqueued: Returns the tokens of a model in all other unfinished batches.
    """

    def __init__(
        self,
        content: StoredContent,
        endpoint: str,
        behaviour: Behaviour,
        enqueued: Callable[[str], int],
    ) -> None:
        self.positions: array[int] = array("Q")
        self.errors: list[BatchError] = []
        self.model: str = ""
        self.tokens: int = 0
        self._content = content
        self._endpoint = endpoint
        self._behaviour = behaviour
        self._enqueued = enqueued
        self._ids: set[str] = set()
        self._position = 0
        self._line_number = 0

    def step(self, lines: int) -> bool:
        """Check so many further lines; returns whether the check is finished."""
        for _ in range(lines):
            line = self._content.read_line(self._position)
            if not line:
                self._check_limits()
                return True
            self._line_number += 1
            if line.strip():
                self._check_line(line)
                self.positions.append(self._position)
            self._position += len(line)
            if len(self.errors) >= _MOST_ERRORS:
                return True
        return False

    def _check_line(self, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._add("invalid_json_line", "This line is not parseable as valid JSON.", self._line_number)
            return
        for code, param, message in self._mistakes(found):
            self._add(code, message, self._line_number, param)
        custom_id = found.get("custom_id")
        if isinstance(custom_id, str):
            self._ids.add(custom_id)

    def _mistakes(self, found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        """The code, the member and the message of each mistake in a line."""
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if found.get(name) is None:
                yield "missing_required_parameter", name, f"Missing required parameter: '{name}'."
            elif not isinstance(found[name], kind):
                yield "invalid_type", name, f"Invalid type for '{name}'."
        custom_id, method, url, body = map(found.get, ("custom_id", "method", "url", "body"))
        if isinstance(custom_id, str) and custom_id in self._ids:
            message = f"The custom_id '{custom_id}' is used by an earlier line; each must be unique."
            yield "duplicate_custom_id", "custom_id", message
        if isinstance(method, str) and method != "POST":
            yield "invalid_method", "method", f"The method must be 'POST', not '{method}'."
        if isinstance(url, str) and url != self._endpoint:
            yield (
                "url_mismatch",
                "url",
                f"The url '{url}' is not the endpoint '{self._endpoint}' of the batch.",
            )
        if isinstance(body, dict):
            yield from self._model_mistakes(body.get("model"))
            self._count_tokens(body)

    def _model_mistakes(self, model: Any) -> Iterator[tuple[str, str, str]]:
        if not isinstance(model, str):
            yield "missing_required_parameter", "body.model", "Missing required parameter: 'body.model'."
        elif self.model and model != self.model:
            message = f"Each batch must contain requests for a single model: '{model}' is not '{self.model}'."
            yield "mismatched_model", "body.model", message
        else:
            self.model = model

    def _count_tokens(self, body: dict[str, Any]) -> None:
        if self._behaviour.batch_max_tokens is None:
            return
        try:
            request = parse_request(
                self._endpoint.removeprefix("/v1"), msgspec.json.encode(body), seed=self._behaviour.seed
            )
        except RejectedRequest:
            return  # It gets this error when it is executed.
        self.tokens += request.input_tokens()

    def _check_limits(self) -> None:
        limits, count, model = self._behaviour, len(self.positions), self.model
        if not count:
            self._add("empty_file", "The input file has no requests.")
        if count > limits.batch_max_requests:
            message = f"The input file has {count} requests; the maximum is {limits.batch_max_requests}."
            self._add("too_many_tasks", message)
        if len(self._content) > limits.batch_max_bytes:
            message = (
                f"The batch input file is larger than the {limits.batch_max_bytes} maximum for the {model}"
            )
            self._add("file_too_large", f"{message} model. Please try again with a smaller batch.")
        if self.errors or limits.batch_max_tokens is None:
            return
        if self._enqueued(model) + self.tokens > limits.batch_max_tokens:
            message = f"Enqueued token limit reached for {model} in organization org-simulated. Limit: "
            message += f"{limits.batch_max_tokens:,} enqueued tokens. "
            message += "Please try again once some in_progress batches have been completed."
            self._add("token_limit_exceeded", message)

    def _add(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})
