"""The metrics of the latest conventions: inference and embeddings apart, tokens as counters by modality."""

from __future__ import annotations

from opentelemetry.metrics import Counter, Meter

from headrace import Usage
from headrace_otel.conventions import written_to_cache
from headrace_otel.instruments import Ended, Instruments, histogram_of_seconds, histogram_of_tokens
from headrace_otel.target import Value

_INFERENCE = frozenset({"chat", "text_completion", "generate_content"})
_UNKNOWN = "unknown"


class LatestInstruments(Instruments):
    """The metrics of the latest conventions.

    Each inference is counted, also one that failed: with the tokens that the endpoint reported, or 0.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._inference = histogram_of_seconds(
            meter, "gen_ai.client.inference.duration", "GenAI client inference operation duration."
        )
        self._embeddings = histogram_of_seconds(
            meter, "gen_ai.client.embeddings.duration", "GenAI client embeddings operation duration."
        )
        self._others = histogram_of_seconds(
            meter, "gen_ai.client.operation.duration", "Duration of other GenAI client operations."
        )
        self._first = histogram_of_seconds(
            meter,
            "gen_ai.client.inference.time_to_first_chunk",
            "Time from the beginning of a streamed call to its first piece.",
        )
        self._input = _tokens(meter, "input_tokens", "Input tokens used, cached ones included.")
        self._output = _tokens(meter, "output_tokens", "Output tokens used, those of reasoning included.")
        self._cache_read = _tokens(
            meter, "cache_read.input_tokens", "Input tokens that came from the provider's cache."
        )
        self._cache_write = _tokens(
            meter, "cache_write.input_tokens", "Input tokens written to the provider's cache."
        )
        self._reasoning = _tokens(meter, "reasoning.output_tokens", "Output tokens used for reasoning.")
        self._inputs = histogram_of_tokens(
            meter, "gen_ai.client.inference.operation.input_tokens", "Input tokens of one inference."
        )
        self._outputs = histogram_of_tokens(
            meter, "gen_ai.client.inference.operation.output_tokens", "Output tokens of one inference."
        )
        self._embedded = histogram_of_tokens(
            meter,
            "gen_ai.client.embeddings.operation.input_tokens",
            "Input tokens of one call for embeddings.",
        )

    def _record(self, operation: str, attributes: dict[str, Value], end: Ended) -> None:
        usage = end.usage or Usage()
        duration, is_inference = self._others, operation in _INFERENCE
        if is_inference:
            duration = self._inference
            if end.first is not None:
                self._first.record(end.first, attributes)
            self._count(attributes, usage)
        if end.error_type is not None:
            attributes["error.type"] = end.error_type
        if is_inference:
            self._inputs.record(usage.prompt_tokens or 0, attributes)
            self._outputs.record(usage.completion_tokens or 0, attributes)
        elif operation == "embeddings":
            duration = self._embeddings
            if usage.prompt_tokens is not None:
                self._embedded.record(usage.prompt_tokens, attributes)
        duration.record(end.seconds, attributes)

    def _count(self, attributes: dict[str, Value], usage: Usage) -> None:
        """Add the tokens of an inference to the counters."""
        _split(
            self._input, attributes, usage.prompt_tokens, usage.prompt_audio_tokens, usage.prompt_image_tokens
        )
        _split(
            self._output,
            attributes,
            usage.completion_tokens,
            usage.completion_audio_tokens,
            usage.completion_image_tokens,
        )
        # No endpoint says of which modality these are.
        unknown = {**attributes, "gen_ai.token.modality": _UNKNOWN}
        self._cache_read.add(usage.cached_tokens or 0, unknown)
        self._cache_write.add(written_to_cache(usage) or 0, unknown)
        self._reasoning.add(usage.reasoning_tokens or 0, unknown)


def _split(
    counter: Counter, attributes: dict[str, Value], total: int | None, audio: int | None, image: int | None
) -> None:
    """Count tokens by modality: ``total`` in all, "unknown" those whose modality nobody said."""
    named = {"audio": audio or 0, "image": image or 0}
    rest = max(0, (total or 0) - sum(named.values()))
    if rest or not any(named.values()):
        named[_UNKNOWN] = rest
    for modality, tokens in named.items():
        if tokens or modality == _UNKNOWN:
            counter.add(tokens, {**attributes, "gen_ai.token.modality": modality})


def _tokens(meter: Meter, name: str, description: str) -> Counter:
    return meter.create_counter(
        f"gen_ai.client.inference.usage.{name}", unit="{token}", description=description
    )
