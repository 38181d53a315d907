"""The metrics: those of the conventions for generative AI, and what headrace knows besides."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from headrace import Reply
from headrace_otel.target import Target

_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4**power for power in range(14)]


class Instruments:
    """Records of calls what dashboards show: how many, how long, how many tokens, how much."""

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time from the beginning of a streamed call to its first piece.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
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

    def ended(
        self,
        target: Target,
        seconds: float,
        reply: Reply | None,
        model: str | None,
        error_type: str | None,
        first: float | None,
    ) -> None:
        """A call took so many seconds, a stream ``first`` to its first piece; ``model`` is the reply's."""
        attributes = dict(target.attributes)
        if model is not None:
            attributes["gen_ai.response.model"] = model
        if first is not None:
            self._first.record(first, attributes)
        usage = reply.usage if reply is not None else None
        if usage is not None:
            if usage.prompt_tokens:
                self._tokens.record(usage.prompt_tokens, {**attributes, "gen_ai.token.type": "input"})
            if usage.completion_tokens:
                self._tokens.record(usage.completion_tokens, {**attributes, "gen_ai.token.type": "output"})
        if reply is not None and reply.cost:
            self._cost.add(float(reply.cost), attributes)
        if error_type is not None:
            attributes["error.type"] = error_type
        self._duration.record(seconds, attributes)
