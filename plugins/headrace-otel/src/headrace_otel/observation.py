"""One call under observation: its span, from begin to end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, StatusCode

from headrace import Call, Endpoint, Reply
from headrace_otel.attributes import (
    CANCELLED,
    answer_attributes,
    description,
    error_attributes,
    event_attributes,
    reply_attributes,
    request_attributes,
)
from headrace_otel.conventions import Conventions
from headrace_otel.messages import input_attributes, output_attributes
from headrace_otel.target import Target, Value, without_key


class Observation:
    """What is kept of a call while it is under way, and how its span is filled.

    ``first`` is how many seconds a stream took to its first piece, None where there is none yet.
    """

    __slots__ = ("_content", "_conventions", "call", "endpoint", "first", "model", "span", "target")

    def __init__(
        self, call: Call, target: Target, span: Span, content: bool, conventions: Conventions
    ) -> None:
        self.call: Call = call
        self.target: Target = target
        self.span: Span = span
        self.first: float | None = None
        self._content = content
        self._conventions = conventions
        # Of the beginning: a policy further in may choose another one, which has another key.
        self.endpoint: Endpoint = call.endpoint
        self.model: str | None = call.request.model

    def went_to(self, target: Target) -> None:
        """Say that another endpoint or model was chosen than at the beginning."""
        self.target = target
        self._set(target.attributes)

    def asked(self) -> None:
        """Say what the call asks for."""
        self._set(request_attributes(self.call, self._conventions))
        if self._content:
            self._set(input_attributes(self.call.request.body, self._conventions))

    def happened(self, name: str, data: Mapping[str, Any]) -> None:
        """Add an event."""
        if self.span.is_recording():
            said = event_attributes(name, data, self._content)
            self.span.add_event(f"headrace.{name}", self._clean(said))

    def answered(self, reply: Reply | None, left_early: bool) -> None:
        """Say what came back."""
        said: dict[str, Value] = {"headrace.attempts": self.call.attempts}
        if self.call.queued:
            said["headrace.queued"] = self.call.queued
        if self.first is not None:
            said["gen_ai.response.time_to_first_chunk"] = self.first
        if left_early:
            said["headrace.stream.left_early"] = True
        if reply is not None:
            said |= reply_attributes(reply, self._conventions)
        self._set(said)
        if reply is not None and self.target.operation != "embeddings":  # megabytes, and no id in it
            self._set(answer_attributes(reply, self._conventions))
            if self._content and reply.content:
                self._set(output_attributes(reply.body, self._conventions))

    def failed(self, error: BaseException, kind: str) -> None:
        """Say what went wrong; a cancellation is no fault, and leaves the status alone."""
        self._set({"error.type": kind} | error_attributes(error))
        if kind != CANCELLED:
            message = description(error, self._content)
            said = None if message is None else str(self._clean({"": message})[""])
            self.span.set_status(StatusCode.ERROR, said)

    def model_of(self, reply: Reply | None) -> str | None:
        """The model that a reply names, for metrics."""
        if reply is None or reply.model is None:
            return None
        return str(self._clean({"": reply.model})[""])

    def _set(self, said: Mapping[str, Value]) -> None:
        self.span.set_attributes(self._clean(said))

    def _clean(self, said: Mapping[str, Value]) -> dict[str, Value]:
        said = without_key(self.endpoint, said)
        return said if self.call.endpoint is self.endpoint else without_key(self.call.endpoint, said)
