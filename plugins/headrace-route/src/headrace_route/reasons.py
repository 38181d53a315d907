"""The reasons to send a request to another model, as vendors report them; pure functions.

A reason is recognised by the code of an error, by its message if a vendor has no code for it, or by the
finish reason of an answer. Only messages are searched, because some endpoints repeat the request in an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from headrace import AnswerError, CallError, InvalidReply, Reply, StatusError
from headrace.plugins import classify_finish_reason

Reason: TypeAlias = Literal["context_window", "content_policy", "refusal"]

_CODES: Mapping[str, Reason] = {
    "context_length_exceeded": "context_window",  # OpenAI, Azure, Groq, Cerebras, DeepSeek
    "exceed_context_size_error": "context_window",  # llama.cpp
    "model_max_prompt_tokens_exceeded": "context_window",  # GitHub Copilot
    "tokens_limit_reached": "context_window",  # GitHub Models
    "content_policy_violation": "content_policy",  # OpenAI, litellm
    "moderation_blocked": "content_policy",  # OpenAI, images
    "content_filter": "content_policy",  # Azure, Moonshot
    "contentfilter": "content_policy",  # Zhipu
    "responsibleaipolicyviolation": "content_policy",  # Azure's inner error
    "data_inspection_failed": "content_policy",  # DashScope
    "datainspectionfailed": "content_policy",
}
_MESSAGE_PATTERNS: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        "context_window",
        re.compile(
            "|".join(
                (
                    r"maximum context length",  # OpenAI, vLLM, SGLang, DeepSeek, OpenRouter, Mistral
                    r"exceeds? the context window",  # OpenAI's responses
                    r"input tokens exceed the configured limit",  # OpenAI
                    r"longer than the (maximum model length|model's context length)",  # vLLM, SGLang
                    r"prompt is too long",  # Anthropic, Fireworks
                    r"exceed context limit",  # Anthropic: input and max_tokens together
                    r"input token count .*exceeds the maximum number of tokens",  # Gemini
                    r"maximum prompt length is \d+",  # xAI
                    r"reduce the length of the messages",  # Groq
                    r"current length is \d+ while limit is \d+",  # Cerebras
                    r"exceeds the available context size",  # llama.cpp
                    r"greater than the context length",  # LM Studio
                    r"`inputs` tokens \+ `max_new_tokens` must be",  # text-generation-inference
                    r"exceeded model token limit",  # Moonshot
                    r"context window exceeds limit",  # MiniMax
                    r"input is too long for requested model",  # Bedrock
                    r"prompt token count of \d+ exceeds the limit of \d+",  # GitHub Copilot
                    r"too many tokens: ",  # Cohere
                    r"range of input length should be",  # DashScope
                    r"ContextWindowExceededError",  # litellm's proxy
                )
            ),
            re.IGNORECASE,
        ),
    ),
    (
        "content_policy",
        re.compile(
            "|".join(
                (
                    r"flagged as potentially violating",  # OpenAI's reasoning models
                    r"result of (our|the) safety system",  # OpenAI
                    r"content management policy",  # Azure
                    r"blocked by content filtering policy",  # Anthropic
                    r"content exists risk",  # DeepSeek
                    r"considered high risk",  # Moonshot
                    r"content violates usage guidelines",  # xAI
                    r"your input was flagged",  # OpenRouter
                    r"(may|might) contain (inappropriate|unsafe or sensitive) content",  # DashScope, Zhipu
                    r"不安全或敏感内容",  # Zhipu
                    r"ContentPolicyViolationError",  # litellm's proxy
                )
            ),
            re.IGNORECASE,
        ),
    ),
)
_FINISH_REASONS: Mapping[str | None, Reason] = {
    "filtered": "content_policy",
    "refused": "refusal",
    "context_window": "context_window",
}

_BODY_MARKERS = (b'"choices"', b'"stop_reason"', b'"output"')
"""Every body with a finish reason contains one of these. Embeddings, which are long, contain none."""

_REASON_STATUSES = frozenset({400, 403, 413, 422, 500})
"""Statuses of such errors. Not 429: a request too large for the tokens of a minute still fits the model."""

_MAX_ERROR_BYTES = 64 * 1024
_PROMPT_PARAMETERS = ("messages", "input", "prompt")


def reason_of_error(error: CallError) -> Reason | None:
    """Return why a call failed, None for any other reason."""
    if isinstance(error, AnswerError):
        return None if error.partial is None else reason_of_reply(error.partial)
    if isinstance(error, StatusError):
        if error.status not in _REASON_STATUSES:
            return None
        return _match_error(error.body, error.error_code, str(error))
    if isinstance(error, InvalidReply):  # an error under status 200, or instead of a stream's first chunk
        return _match_error(b"", error.error_code, str(error))
    return None


def reason_of_reply(reply: Reply) -> Reason | None:
    """Return why a reply has no answer, None if at least one of its choices is an answer."""
    if not any(name in reply.content for name in _BODY_MARKERS):
        return None
    try:
        body = reply.body
    except InvalidReply:
        return None
    if not isinstance(body, Mapping):
        return None
    reasons = list(_choice_reasons(body))
    return reasons[0] if reasons and None not in reasons else None


def _choice_reasons(body: Mapping[str, Any]) -> Iterator[Reason | None]:
    """Yield the reason of each choice of a chat completion, or of the one answer of a response or message."""
    for choice in _mappings(body.get("choices")):
        message = choice.get("message")
        refused = isinstance(message, Mapping) and message.get("refusal")
        yield "refusal" if refused else _known_finish_reason(choice.get("finish_reason"))
    if "stop_reason" in body:
        yield _known_finish_reason(body["stop_reason"])
    if items := _mappings(body.get("output")):
        details = body.get("incomplete_details")
        parts = [part.get("type") for item in items for part in _mappings(item.get("content"))]
        refused = "refusal" in parts and "output_text" not in parts
        yield (
            "refusal"
            if refused
            else _known_finish_reason(details.get("reason") if isinstance(details, Mapping) else None)
        )


def _known_finish_reason(reason: Any) -> Reason | None:
    """Return the reason that a finish reason stands for."""
    return _FINISH_REASONS.get(classify_finish_reason(reason))


def _match_error(content: bytes, code: str | None, message: str) -> Reason | None:
    """Return the reason that an error's body, code or message shows."""
    codes, messages, parameter = [code], [message], None
    for part in _error_objects(_decode(content)):
        codes += [part.get("code"), part.get("type")]
        codes += [name for name in part if name == "contentFilter"]
        messages += [text for name in ("message", "raw") if isinstance(text := part.get(name), str)]
        parameter = part.get("param") or parameter
    names = [each.lower() for each in codes if isinstance(each, str)]
    if (
        "string_above_max_length" in names
        and isinstance(parameter, str)
        and parameter.startswith(_PROMPT_PARAMETERS)
    ):
        return "context_window"
    for name in names:
        if name in _CODES:
            return _CODES[name]
    text = "\n".join(messages)
    return next((reason for reason, pattern in _MESSAGE_PATTERNS if pattern.search(text)), None)


def _decode(content: bytes) -> Any:
    """Return the JSON value of an error's body; None if it is not JSON or too long."""
    if len(content) > _MAX_ERROR_BYTES:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _error_objects(body: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an error's body in which vendors put codes and messages."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping) or depth > 3:
        return
    yield body
    for name in ("error", "innererror", "metadata"):
        yield from _error_objects(body.get(name), depth + 1)


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a JSON array."""
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
