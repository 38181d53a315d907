"""Which of OpenTelemetry's conventions for generative AI are used, and how they name token counts.

`RELEASED` are the last ones of the main repository. opentelemetry-semantic-conventions 0.66b has their names
as well, but deprecated, so they are written out here. `LATEST` are those of the repository that the
conventions have moved to. They are used only if `OPT_IN` asks for them, as the conventions require.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from headrace import Usage

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The environment variable with the names of newer conventions, separated by commas."""

_LATEST_NAME: Final = "gen_ai_latest_experimental"

TokenCount = Callable[[Usage], int | None]


@attrs.frozen
class Conventions:
    """One version of the conventions.

    Attributes:
        version: The version, as tagged in its repository.
        schema_url: The schema URL of spans and metrics.
        counts: The attribute of each token count, except for input and output tokens.
        is_latest: True for `LATEST`.
    """

    version: str
    schema_url: str
    counts: Mapping[str, TokenCount]
    is_latest: bool


def cache_write_tokens(usage: Usage) -> int | None:
    """Return the tokens written to a cache for any lifetime; None if the endpoint did not report them."""
    written = [
        count for count in (usage.cache_write_tokens, usage.cache_write_1h_tokens) if count is not None
    ]
    return sum(written) if written else None


RELEASED: Final = Conventions(
    "1.41.0",
    "https://opentelemetry.io/schemas/1.41.0",
    {
        "gen_ai.usage.cache_read.input_tokens": lambda usage: usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": lambda usage: usage.reasoning_tokens,
    },
    is_latest=False,
)
LATEST: Final = Conventions(
    "0.1.0",
    "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
    {
        "gen_ai.usage.cache_read.input_tokens": lambda usage: usage.cached_tokens,
        "gen_ai.usage.cache_write.input_tokens": cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": lambda usage: usage.reasoning_tokens,
        "gen_ai.usage.audio.input_tokens": lambda usage: usage.prompt_audio_tokens,
        "gen_ai.usage.audio.output_tokens": lambda usage: usage.completion_audio_tokens,
        "gen_ai.usage.image.input_tokens": lambda usage: usage.prompt_image_tokens,
        "gen_ai.usage.image.output_tokens": lambda usage: usage.completion_image_tokens,
    },
    is_latest=True,
)


def select_conventions(environ: Mapping[str, str]) -> Conventions:
    """Return the conventions that the environment asks for."""
    names = {name.strip() for name in environ.get(OPT_IN, "").split(",")}
    return LATEST if _LATEST_NAME in names else RELEASED
