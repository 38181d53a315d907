"""The metrics of the latest conventions: inference and embeddings separately, tokens counted by modality."""

from __future__ import annotations

from opentelemetry.metrics import Counter, Meter

from headrace import Usage
from headrace_otel.conventions import cache_write_tokens
from headrace_otel.instruments import CallResult, Instruments, histogram_of_seconds, histogram_of_tokens
from headrace_otel.span_target import Value

_INFERENCE = frozenset({"chat", "text_completion", "generate_content"})
_UNKNOWN = "unknown"


class LatestInstruments(Instruments):
    """The metrics of the latest conventions.

    Each inference is counted, even a failed one, with the tokens that the endpoint reported, or else 0.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._inference_duration = histogram_of_seconds(
            meter, "gen_ai.client.inference.duration", "GenAI client inference operation duration."
        )
        self._embeddings_duration = histogram_of_seconds(
            meter, "gen_ai.client.embeddings.duration", "GenAI client embeddings operation duration."
        )
        self._other_duration = histogram_of_seconds(
            meter, "gen_ai.client.operation.duration", "Duration of other GenAI client operations."
        )
        self._first_chunk = histogram_of_seconds(
            meter,
            "gen_ai.client.inference.time_to_first_chunk",
            "Time from the start of a streaming call to its first chunk.",
        )
        self._input = _token_counter(meter, "input_tokens", "Input tokens used, including cached tokens.")
        self._output = _token_counter(
            meter, "output_tokens", "Output tokens used, including reasoning tokens."
        )
        self._cache_read = _token_counter(
            meter, "cache_read.input_tokens", "Input tokens read from the provider's cache."
        )
        self._cache_write = _token_counter(
            meter, "cache_write.input_tokens", "Input tokens written to the provider's cache."
        )
        self._reasoning = _token_counter(
            meter, "reasoning.output_tokens", "Output tokens used for reasoning."
        )
        self._input_sizes = histogram_of_tokens(
            meter, "gen_ai.client.inference.operation.input_tokens", "Input tokens of one inference."
        )
        self._output_sizes = histogram_of_tokens(
            meter, "gen_ai.client.inference.operation.output_tokens", "Output tokens of one inference."
        )
        self._embeddings_sizes = histogram_of_tokens(
            meter,
            "gen_ai.client.embeddings.operation.input_tokens",
            "Input tokens of one embeddings call.",
        )

    def _record(self, operation: str, attributes: dict[str, Value], end: CallResult) -> None:
        usage = end.usage or Usage()
        duration, is_inference = self._other_duration, operation in _INFERENCE
        if is_inference:
            duration = self._inference_duration
            if end.first_chunk is not None:
                self._first_chunk.record(end.first_chunk, attributes)
            self._count_tokens(attributes, usage)
        if end.error_type is not None:
            attributes["error.type"] = end.error_type
        if is_inference:
            self._input_sizes.record(usage.prompt_tokens or 0, attributes)
            self._output_sizes.record(usage.completion_tokens or 0, attributes)
        elif operation == "embeddings":
            duration = self._embeddings_duration
            if usage.prompt_tokens is not None:
                self._embeddings_sizes.record(usage.prompt_tokens, attributes)
        duration.record(end.seconds, attributes)

    def _count_tokens(self, attributes: dict[str, Value], usage: Usage) -> None:
        """Add the tokens of an inference to the counters."""
        _add_by_modality(
            self._input, attributes, usage.prompt_tokens, usage.prompt_audio_tokens, usage.prompt_image_tokens
        )
        _add_by_modality(
            self._output,
            attributes,
            usage.completion_tokens,
            usage.completion_audio_tokens,
            usage.completion_image_tokens,
        )
        # No endpoint reports the modality of these.
        unknown = {**attributes, "gen_ai.token.modality": _UNKNOWN}
        self._cache_read.add(usage.cached_tokens or 0, unknown)
        self._cache_write.add(cache_write_tokens(usage) or 0, unknown)
        self._reasoning.add(usage.reasoning_tokens or 0, unknown)


def _add_by_modality(
    counter: Counter, attributes: dict[str, Value], total: int | None, audio: int | None, image: int | None
) -> None:
    """Count ``total`` tokens by modality; those without a reported modality are "unknown"."""
    counts = {"audio": audio or 0, "image": image or 0}
    rest = max(0, (total or 0) - sum(counts.values()))
    if rest or not any(counts.values()):
        counts[_UNKNOWN] = rest
    for modality, tokens in counts.items():
        if tokens or modality == _UNKNOWN:
            counter.add(tokens, {**attributes, "gen_ai.token.modality": modality})


def _token_counter(meter: Meter, name: str, description: str) -> Counter:
    """Return a counter of tokens."""
    return meter.create_counter(
        f"gen_ai.client.inference.usage.{name}", unit="{token}", description=description
    )
