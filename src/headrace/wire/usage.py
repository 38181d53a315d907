"""Token counts as endpoints write them, brought to one form.

Endpoints differ in names, and in what a count includes. Here ``prompt_tokens`` includes what was read from
or written to a cache, and ``completion_tokens`` includes the tokens of reasoning, as OpenAI counts them:

- Anthropic's ``input_tokens`` leaves cached tokens out; they are added.
- xAI's and Gemini's ``completion_tokens`` leaves reasoning out; ``total_tokens`` shows it, and it is added.
- DeepSeek, Moonshot and Mistral have names of their own for cached tokens.

A count that is negative, has a fraction, or is too large to be one is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec

from headrace.replies import Usage

MAX_TOKEN_COUNT = 10**12
"""More than any answer has; a larger count is a mistake, and would not fit where counts are stored."""

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN_COUNT)] | None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = None
    cache_write_tokens: _Count = None
    cache_creation_tokens: _Count = None
    audio_tokens: _Count = None
    image_tokens: _Count = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count = None
    audio_tokens: _Count = None
    image_tokens: _Count = None


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: _Count = None
    ephemeral_1h_input_tokens: _Count = None


class UsageFields(msgspec.Struct):
    """Usage under the names of the chat, messages, responses and embeddings APIs, and of vendors."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    total_tokens: _Count = None
    input_tokens: _Count = None
    output_tokens: _Count = None
    prompt_tokens_details: _PromptDetails | None = None
    input_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    output_tokens_details: _CompletionDetails | None = None
    cached_tokens: _Count = None
    num_cached_tokens: _Count = None
    prompt_cache_hit_tokens: _Count = None
    prompt_cache_miss_tokens: _Count = None
    reasoning_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_creation: _CacheCreation | None = None
    service_tier: Any = None
    speed: Any = None

    @property
    def tier(self) -> str | None:
        """The service tier, where the usage says it, as Anthropic's does: "fast" is one by another name."""
        if self.speed == "fast":
            return "fast"
        return self.service_tier if isinstance(self.service_tier, str) else None

    def merged_with(self, later: UsageFields) -> UsageFields:
        """These counts, replaced by those of a later part of the same answer, where it has others."""
        merged: dict[str, Any] = {
            name: _first(getattr(later, name), getattr(self, name)) for name in self.__struct_fields__
        }
        return UsageFields(**merged)

    def _usual(self) -> bool:
        """Whether there is nothing but OpenAI's own fields of a chat."""
        details = self.prompt_tokens_details
        return (
            (
                details is None
                or (details.cache_write_tokens is None and details.cache_creation_tokens is None)
            )
            and self.cached_tokens is None
            and self.prompt_cache_hit_tokens is None
            and self.num_cached_tokens is None
            and self.reasoning_tokens is None
            and self.cache_read_input_tokens is None
            and self.cache_creation_input_tokens is None
            and self.cache_creation is None
            and self.input_tokens_details is None
        )

    def to_usage(self) -> Usage | None:
        """The counts in one form; None where there are none."""
        prompt, completion, total = self.prompt_tokens, self.completion_tokens, self.total_tokens
        details = self.prompt_tokens_details or self.input_tokens_details or _NO_PROMPT_DETAILS
        made_of = self.completion_tokens_details or self.output_tokens_details or _NO_COMPLETION_DETAILS
        if prompt is not None and completion is not None and total == prompt + completion and self._usual():
            # OpenAI's own form, as most have it: taken as it is, for this is on the path of each call.
            cached, reasoning = details.cached_tokens, made_of.reasoning_tokens
            if (cached or 0) <= prompt and (reasoning or 0) <= completion:
                return Usage(
                    prompt,
                    completion,
                    total,
                    cached,
                    None,
                    None,
                    reasoning,
                    details.audio_tokens,
                    made_of.audio_tokens,
                    details.image_tokens,
                    made_of.image_tokens,
                )
        cached = _first(
            details.cached_tokens,
            self.cache_read_input_tokens,
            self.prompt_cache_hit_tokens,
            self.cached_tokens,
            self.num_cached_tokens,
        )
        written = _first(
            self.cache_creation_input_tokens, details.cache_write_tokens, details.cache_creation_tokens
        )
        written_for_long = None
        if self.cache_creation is not None:
            written_for_long = self.cache_creation.ephemeral_1h_input_tokens
            if written_for_long is not None and written is not None:
                written = max(0, written - written_for_long)
            elif written is None:
                written = self.cache_creation.ephemeral_5m_input_tokens
                if written is None and written_for_long is not None:
                    written = 0
        reasoning = _first(made_of.reasoning_tokens, self.reasoning_tokens)
        aside = (cached or 0) + (written or 0) + (written_for_long or 0)
        if prompt is None:
            prompt = self.input_tokens
            # Only Anthropic has these names beside "input_tokens", which then leaves them out.
            beside = self.cache_read_input_tokens is not None or self.cache_creation_input_tokens is not None
            if prompt is not None and beside:
                prompt += aside
            elif prompt is None and self.prompt_cache_miss_tokens is not None:
                prompt = aside + self.prompt_cache_miss_tokens
        if prompt is not None and aside > prompt:
            prompt += aside  # a part cannot be more than the whole
        if completion is None:
            completion = self.output_tokens
        if total is not None and prompt is None and completion is not None:
            prompt = max(aside, total - completion)
        elif total is not None and prompt is not None:
            if completion is None:
                completion = max(0, total - prompt)
            elif total > prompt + completion:
                if total - prompt - completion == aside:
                    prompt += aside
                else:
                    completion = total - prompt
        if completion is not None and reasoning is not None and reasoning > completion:
            completion += reasoning
        if prompt is not None and completion is not None:
            total = prompt + completion
        elif prompt is None and completion is None and total is None and not aside and not reasoning:
            return None
        return Usage(
            prompt,
            completion,
            total,
            cached,
            written,
            written_for_long,
            reasoning,
            details.audio_tokens,
            made_of.audio_tokens,
            details.image_tokens,
            made_of.image_tokens,
        )


_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()


def _first(*counts: int | None) -> int | None:
    """The first count that is known and not 0, else 0 where one is known."""
    known = None
    for count in counts:
        if count:
            return count
        if count == 0:
            known = 0
    return known


def parse_usage(value: Any) -> UsageFields | None:
    """What a decoded ``usage`` says, whatever else is in it; None where it is not an object."""
    return None if not isinstance(value, Mapping) else _read(UsageFields, value)


def _read(kind: type[Any], value: Mapping[str, Any]) -> Any:
    found: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        given, part = value.get(name), _PARTS.get(name)
        if name in _TEXTS:
            found[name] = given
        elif part is None:
            found[name] = _count(given)
        elif isinstance(given, Mapping):
            found[name] = _read(part, given)
    return kind(**found)


_TEXTS = frozenset({"service_tier", "speed"})

_PARTS = {
    "prompt_tokens_details": _PromptDetails,
    "input_tokens_details": _PromptDetails,
    "completion_tokens_details": _CompletionDetails,
    "output_tokens_details": _CompletionDetails,
    "cache_creation": _CacheCreation,
}


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOKEN_COUNT:
        return None
    return value


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """The counts as the chat API has them, from which `UsageFields` reads the same."""
    written, for_long = usage.cache_write_tokens, usage.cache_write_1h_tokens
    prompt = {
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": written if for_long is None else (written or 0) + for_long,
        "audio_tokens": usage.prompt_audio_tokens,
        "image_tokens": usage.prompt_image_tokens,
    }
    completion = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.completion_audio_tokens,
        "image_tokens": usage.completion_image_tokens,
    }
    made: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": _known(prompt),
        "completion_tokens_details": _known(completion),
        "cache_creation": None if for_long is None else {"ephemeral_1h_input_tokens": for_long},
    }
    return {name: value for name, value in made.items() if value is not None}


def _known(counts: dict[str, int | None]) -> dict[str, int] | None:
    return {name: count for name, count in counts.items() if count is not None} or None
