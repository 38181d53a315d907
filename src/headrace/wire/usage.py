"""Parses token counts, and converts them from the forms of several vendors to one.

Vendors differ in names, and in what a count includes. Here ``prompt_tokens`` includes the tokens read from or
written to a cache, and ``completion_tokens`` includes the reasoning tokens, as OpenAI counts them:

- Anthropic's ``input_tokens`` does not include cached tokens; they are added.
- ``completion_tokens`` of xAI and Gemini does not include reasoning; ``total_tokens`` does, so it is added.
- DeepSeek, Moonshot and Mistral have other names for cached tokens.

A count that is negative, has a fraction, or is impossibly large is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec

from headrace.replies import Usage

MAX_TOKEN_COUNT = 10**12
"""More than any answer has. A larger count is an error, and would not fit where counts are stored."""

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
    """The fields of ``usage`` in the chat, messages, responses and embeddings APIs, and those of vendors."""

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
        """The service tier, if the usage names it, as Anthropic's does: its speed "fast" is a tier, too."""
        if self.speed == "fast":
            return "fast"
        return self.service_tier if isinstance(self.service_tier, str) else None

    def merged_with(self, later: UsageFields) -> UsageFields:
        """Return these counts, updated with those of a later part of the same answer."""
        merged: dict[str, Any] = {
            name: _first(getattr(later, name), getattr(self, name)) for name in self.__struct_fields__
        }
        return UsageFields(**merged)

    def _has_openai_fields_only(self) -> bool:
        """Return whether only the fields of OpenAI's chat API are set."""
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
        """Return the counts in OpenAI's form, None if there are none."""
        prompt, completion, total = self.prompt_tokens, self.completion_tokens, self.total_tokens
        details = self.prompt_tokens_details or self.input_tokens_details or _NO_PROMPT_DETAILS
        completion_details = (
            self.completion_tokens_details or self.output_tokens_details or _NO_COMPLETION_DETAILS
        )
        if (
            prompt is not None
            and completion is not None
            and total == prompt + completion
            and self._has_openai_fields_only()
        ):
            # OpenAI's form, which most endpoints use. This shortcut is on the hot path of each call.
            cached, reasoning = details.cached_tokens, completion_details.reasoning_tokens
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
                    completion_details.audio_tokens,
                    details.image_tokens,
                    completion_details.image_tokens,
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
        written_1h = None
        if self.cache_creation is not None:
            written_1h = self.cache_creation.ephemeral_1h_input_tokens
            if written_1h is not None and written is not None:
                written = max(0, written - written_1h)
            elif written is None:
                written = self.cache_creation.ephemeral_5m_input_tokens
                if written is None and written_1h is not None:
                    written = 0
        reasoning = _first(completion_details.reasoning_tokens, self.reasoning_tokens)
        cache_tokens = (cached or 0) + (written or 0) + (written_1h or 0)
        if prompt is None:
            prompt = self.input_tokens
            # Only Anthropic uses these names; its "input_tokens" does not include them.
            is_anthropic = (
                self.cache_read_input_tokens is not None or self.cache_creation_input_tokens is not None
            )
            if prompt is not None and is_anthropic:
                prompt += cache_tokens
            elif prompt is None and self.prompt_cache_miss_tokens is not None:
                prompt = cache_tokens + self.prompt_cache_miss_tokens
        if prompt is not None and cache_tokens > prompt:
            prompt += cache_tokens  # a part cannot exceed the total
        if completion is None:
            completion = self.output_tokens
        if total is not None and prompt is None and completion is not None:
            prompt = max(cache_tokens, total - completion)
        elif total is not None and prompt is not None:
            if completion is None:
                completion = max(0, total - prompt)
            elif total > prompt + completion:
                if total - prompt - completion == cache_tokens:
                    prompt += cache_tokens
                else:
                    completion = total - prompt
        if completion is not None and reasoning is not None and reasoning > completion:
            completion += reasoning
        if prompt is not None and completion is not None:
            total = prompt + completion
        elif prompt is None and completion is None and total is None and not cache_tokens and not reasoning:
            return None
        return Usage(
            prompt,
            completion,
            total,
            cached,
            written,
            written_1h,
            reasoning,
            details.audio_tokens,
            completion_details.audio_tokens,
            details.image_tokens,
            completion_details.image_tokens,
        )


_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()


def _first(*counts: int | None) -> int | None:
    """Return the first count that is known and not 0, else 0 if one is known."""
    known = None
    for count in counts:
        if count:
            return count
        if count == 0:
            known = 0
    return known


def parse_usage(value: Any) -> UsageFields | None:
    """Parse a decoded ``usage``, and ignore fields of the wrong type; None if it is not an object."""
    return None if not isinstance(value, Mapping) else _parse_fields(UsageFields, value)


def _parse_fields(struct: type[Any], value: Mapping[str, Any]) -> Any:
    """Return a struct with the valid fields of an object."""
    found: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        field, part = value.get(name), _NESTED_STRUCTS.get(name)
        if name in _TEXT_FIELDS:
            found[name] = field
        elif part is None:
            found[name] = _parse_count(field)
        elif isinstance(field, Mapping):
            found[name] = _parse_fields(part, field)
    return struct(**found)


_TEXT_FIELDS = frozenset({"service_tier", "speed"})

_NESTED_STRUCTS = {
    "prompt_tokens_details": _PromptDetails,
    "input_tokens_details": _PromptDetails,
    "completion_tokens_details": _CompletionDetails,
    "output_tokens_details": _CompletionDetails,
    "cache_creation": _CacheCreation,
}


def _parse_count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOKEN_COUNT:
        return None
    return value


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """Return the counts in the form of the chat API, which `UsageFields` can parse again."""
    written, written_1h = usage.cache_write_tokens, usage.cache_write_1h_tokens
    prompt = {
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": written if written_1h is None else (written or 0) + written_1h,
        "audio_tokens": usage.prompt_audio_tokens,
        "image_tokens": usage.prompt_image_tokens,
    }
    completion = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.completion_audio_tokens,
        "image_tokens": usage.completion_image_tokens,
    }
    fields: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": _without_none(prompt),
        "completion_tokens_details": _without_none(completion),
        "cache_creation": None if written_1h is None else {"ephemeral_1h_input_tokens": written_1h},
    }
    return {name: value for name, value in fields.items() if value is not None}


def _without_none(counts: dict[str, int | None]) -> dict[str, int] | None:
    return {name: count for name, count in counts.items() if count is not None} or None
