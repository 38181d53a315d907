"""Bodies of answers for each path of the API."""

from __future__ import annotations

from typing import Any

from headrace.calls import Request

CREATED = 1_700_000_000


def chat(model: str, text: str, usage: dict[str, Any]) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


def response(model: str, text: str, usage: dict[str, Any]) -> dict[str, Any]:
    """A response of the Responses API."""
    content = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "resp-fake",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "error": None,
        "model": model,
        "output": [{"type": "message", "role": "assistant", "content": [content]}],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "total_tokens": usage["total_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
        },
    }


def embeddings(model: str, count: int, usage: dict[str, Any]) -> dict[str, Any]:
    """A vector of two numbers for each of ``count`` texts."""
    return {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": at, "embedding": [1.0, 0.0]} for at in range(count)],
        "usage": {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["prompt_tokens"]},
    }


def answer_to(request: Request | None, model: str, text: str, usage: dict[str, Any]) -> dict[str, Any]:
    """The body of an answer to ``request``; a chat completion for unknown paths."""
    if request is None:
        return chat(model, text, usage)
    path = request.path.partition("?")[0]
    if path.endswith("/models"):
        return {"object": "list", "data": [{"id": model, "object": "model"}]}
    if path.endswith("/responses"):
        return response(model, text, usage)
    if path.endswith("/embeddings"):
        texts = (request.body or {}).get("input")
        return embeddings(model, len(texts) if isinstance(texts, list) else 1, usage)
    return chat(model, text, usage)
