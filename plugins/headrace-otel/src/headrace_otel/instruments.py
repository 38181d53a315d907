"""The metrics: those of the released conventions for generative AI, and what headrace knows besides.

Those of the latest conventions are in `headrace_otel.latest_instruments`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
from opentelemetry.metrics import Histogram, Meter

from headrace import Reply, Usage
from headrace_otel.target import Target, Value

SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [4**power for power in range(14)]


@attrs.frozen(kw_only=True)
class Ended:
    """How a call ended.

    Attributes:
        seconds: How long it took.
        reply: What came back, also of a call that failed.
        model: The model that the reply names.
        error_type: What went wrong, None where nothing did.
        first: Seconds until the first piece of a stream, None without one.
    """

    seconds: float
    reply: Reply | None = None
    model: str | None = None
    error_type: str | None = None
    first: float | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens that the call used, as far as the endpoint said."""
        return None if self.reply is None else self.reply.usage


class Instruments(ABC):
    """Records of calls what dashboards show: how many, how long, how many tokens, how much."""

    def __init__(self, meter: Meter) -> None:
        self._in_flight = meter.create_up_down_counter(
            "headrace.client.in_flight", unit="{call}", description="Calls under way."
        )
        self._retries = meter.create_counter(
            "headrace.client.retries", unit="{retry}", description="Tries after the first one."
        )
        self._cost = meter.create_counter(
            "headrace.client.cost", unit="{USD}", description="What replies cost, where their price is known."
        )

    def begun(self, target: Target) -> None:
        """A call is under way."""
        self._in_flight.add(1, target.attributes)

    def retried(self, target: Target, error: object) -> None:
        """A call is made again, after an error of this code."""
        self._retries.add(1, {**target.attributes, "error.type": str(error)})

    def over(self, target: Target) -> None:
        """A call is under way no more."""
        self._in_flight.add(-1, target.attributes)

    def ended(self, target: Target, end: Ended) -> None:
        """A call to ``target`` ended."""
        attributes = dict(target.attributes)
        if end.model is not None:
            attributes["gen_ai.response.model"] = end.model
        if end.reply is not None and end.reply.cost:
            self._cost.add(float(end.reply.cost), attributes)
        self._record(target.operation, attributes, end)

    @abstractmethod
    def _record(self, operation: str, attributes: dict[str, Value], end: Ended) -> None:
        """Record what the conventions want to know."""


class ReleasedInstruments(Instruments):
    """The metrics of the released conventions."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._duration = histogram_of_seconds(
            meter, "gen_ai.client.operation.duration", "GenAI operation duration."
        )
        self._first = histogram_of_seconds(
            meter,
            "gen_ai.client.operation.time_to_first_chunk",
            "Time from the beginning of a streamed call to its first piece.",
        )
        self._tokens = histogram_of_tokens(
            meter, "gen_ai.client.token.usage", "Number of input and output tokens used."
        )

    def _record(self, operation: str, attributes: dict[str, Value], end: Ended) -> None:
        if end.first is not None:
            self._first.record(end.first, attributes)
        if (usage := end.usage) is not None:
            if usage.prompt_tokens:
                self._tokens.record(usage.prompt_tokens, {**attributes, "gen_ai.token.type": "input"})
            if usage.completion_tokens:
                self._tokens.record(usage.completion_tokens, {**attributes, "gen_ai.token.type": "output"})
        if end.error_type is not None:
            attributes["error.type"] = end.error_type
        self._duration.record(end.seconds, attributes)


def histogram_of_seconds(meter: Meter, name: str, description: str) -> Histogram:
    """A histogram with the boundaries that the conventions want for durations."""
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=SECONDS
    )


def histogram_of_tokens(meter: Meter, name: str, description: str) -> Histogram:
    """A histogram with the boundaries that the conventions want for counts of tokens."""
    return meter.create_histogram(
        name, unit="{token}", description=description, explicit_bucket_boundaries_advisory=TOKENS
    )
