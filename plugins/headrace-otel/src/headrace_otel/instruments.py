"""The metrics of the released conventions for generative AI, and headrace's own.

The metrics of the latest conventions are in `headrace_otel.latest_instruments`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
from opentelemetry.metrics import Histogram, Meter

from headrace import Reply, Usage
from headrace_otel.span_target import SpanTarget, Value

SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [4**power for power in range(14)]


@attrs.frozen(kw_only=True)
class CallResult:
    """How a call ended.

    Attributes:
        seconds: How long it took.
        reply: The reply, also of a failed call if it had one.
        model: The model that the reply names.
        error_type: The ``error.type`` of a failed call, else None.
        first_chunk: Seconds until the first chunk of a stream, None without one.
    """

    seconds: float
    reply: Reply | None = None
    model: str | None = None
    error_type: str | None = None
    first_chunk: float | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens that the call used, as far as the endpoint reported them."""
        return None if self.reply is None else self.reply.usage


class Instruments(ABC):
    """Records the metrics of calls: number, duration, tokens and cost."""

    def __init__(self, meter: Meter) -> None:
        self._in_flight = meter.create_up_down_counter(
            "headrace.client.in_flight", unit="{call}", description="Calls in flight."
        )
        self._retries = meter.create_counter(
            "headrace.client.retries", unit="{retry}", description="Retries of calls."
        )
        self._cost = meter.create_counter(
            "headrace.client.cost", unit="{USD}", description="Cost of replies with a known price."
        )

    def call_started(self, target: SpanTarget) -> None:
        """Record that a call has started."""
        self._in_flight.add(1, target.attributes)

    def call_retried(self, target: SpanTarget, error: object) -> None:
        """Record a retry after an error with this code."""
        self._retries.add(1, {**target.attributes, "error.type": str(error)})

    def call_finished(self, target: SpanTarget) -> None:
        """Record that a call is no longer in flight."""
        self._in_flight.add(-1, target.attributes)

    def record(self, target: SpanTarget, end: CallResult) -> None:
        """Record the result of a call."""
        attributes = dict(target.attributes)
        if end.model is not None:
            attributes["gen_ai.response.model"] = end.model
        if end.reply is not None and end.reply.cost:
            self._cost.add(float(end.reply.cost), attributes)
        self._record(target.operation, attributes, end)

    @abstractmethod
    def _record(self, operation: str, attributes: dict[str, Value], end: CallResult) -> None:
        """Record the metrics of the conventions."""


class ReleasedInstruments(Instruments):
    """The metrics of the released conventions."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._duration = histogram_of_seconds(
            meter, "gen_ai.client.operation.duration", "GenAI operation duration."
        )
        self._first_chunk = histogram_of_seconds(
            meter,
            "gen_ai.client.operation.time_to_first_chunk",
            "Time from the start of a streaming call to its first chunk.",
        )
        self._tokens = histogram_of_tokens(
            meter, "gen_ai.client.token.usage", "Number of input and output tokens used."
        )

    def _record(self, operation: str, attributes: dict[str, Value], end: CallResult) -> None:
        if end.first_chunk is not None:
            self._first_chunk.record(end.first_chunk, attributes)
        if (usage := end.usage) is not None:
            if usage.prompt_tokens:
                self._tokens.record(usage.prompt_tokens, {**attributes, "gen_ai.token.type": "input"})
            if usage.completion_tokens:
                self._tokens.record(usage.completion_tokens, {**attributes, "gen_ai.token.type": "output"})
        if end.error_type is not None:
            attributes["error.type"] = end.error_type
        self._duration.record(end.seconds, attributes)


def histogram_of_seconds(meter: Meter, name: str, description: str) -> Histogram:
    """Return a histogram with the conventions' boundaries for durations."""
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=SECONDS
    )


def histogram_of_tokens(meter: Meter, name: str, description: str) -> Histogram:
    """Return a histogram with the conventions' boundaries for token counts."""
    return meter.create_histogram(
        name, unit="{token}", description=description, explicit_bucket_boundaries_advisory=TOKENS
    )
