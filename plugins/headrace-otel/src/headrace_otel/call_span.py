"""The span of one call, from start to end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, StatusCode

from headrace import Call, Endpoint, Reply
from headrace_otel.attributes import (
    CANCELLED,
    answer_attributes,
    error_attributes,
    error_description,
    event_attributes,
    reply_attributes,
    request_attributes,
)
from headrace_otel.conventions import Conventions
from headrace_otel.messages import input_attributes, output_attributes
from headrace_otel.span_target import SpanTarget, Value, redact


class CallSpan:
    """The state of a call while it is in flight; fills its span.

    ``first_chunk`` is how many seconds a stream took to its first chunk, None before that.
    """

    __slots__ = ("_content", "_conventions", "call", "endpoint", "first_chunk", "model", "span", "target")

    def __init__(
        self, call: Call, target: SpanTarget, span: Span, content: bool, conventions: Conventions
    ) -> None:
        self.call: Call = call
        self.target: SpanTarget = target
        self.span: Span = span
        self.first_chunk: float | None = None
        self._content = content
        self._conventions = conventions
        # At the start: an inner policy may select another endpoint, which has another key.
        self.endpoint: Endpoint = call.endpoint
        self.model: str | None = call.request.model

    def change_target(self, target: SpanTarget) -> None:
        """Record that the call went to another endpoint or model than at the start."""
        self.target = target
        self._set(target.attributes)

    def record_request(self) -> None:
        """Record the request."""
        self._set(request_attributes(self.call, self._conventions))
        if self._content:
            self._set(input_attributes(self.call.request.body, self._conventions))

    def record_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Record an event."""
        if self.span.is_recording():
            attributes = event_attributes(name, data, self._content)
            self.span.add_event(f"headrace.{name}", self._redact(attributes))

    def record_reply(self, reply: Reply | None, left_early: bool) -> None:
        """Record the reply."""
        attributes: dict[str, Value] = {"headrace.attempts": self.call.attempts}
        if self.call.queued:
            attributes["headrace.queued"] = self.call.queued
        if self.first_chunk is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = self.first_chunk
        if left_early:
            attributes["headrace.stream.left_early"] = True
        if reply is not None:
            attributes |= reply_attributes(reply, self._conventions)
        self._set(attributes)
        if reply is not None and self.target.operation != "embeddings":  # megabytes, and without an id
            self._set(answer_attributes(reply, self._conventions))
            if self._content and reply.content:
                self._set(output_attributes(reply.body, self._conventions))

    def record_error(self, error: BaseException, kind: str) -> None:
        """Record an error; a cancellation is not an error and leaves the status unset."""
        self._set({"error.type": kind} | error_attributes(error))
        if kind != CANCELLED:
            message = error_description(error, self._content)
            text = None if message is None else str(self._redact({"": message})[""])
            self.span.set_status(StatusCode.ERROR, text)

    def model_of(self, reply: Reply | None) -> str | None:
        """Return the model that a reply names, for metrics."""
        if reply is None or reply.model is None:
            return None
        return str(self._redact({"": reply.model})[""])

    def _set(self, attributes: Mapping[str, Value]) -> None:
        self.span.set_attributes(self._redact(attributes))

    def _redact(self, attributes: Mapping[str, Value]) -> dict[str, Value]:
        """Return attributes without the keys of the first and the current endpoint."""
        attributes = redact(self.endpoint, attributes)
        return attributes if self.call.endpoint is self.endpoint else redact(self.call.endpoint, attributes)
