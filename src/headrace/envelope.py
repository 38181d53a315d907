"""What headrace itself reads of every answer: model, usage, error. The rest is decoded when somebody asks."""

from __future__ import annotations

import msgspec

from headrace.errors import InvalidReply
from headrace.reply import NOT_JSON, Reply, Usage, shown


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class UsageFields(msgspec.Struct):
    """Usage under the names of the chat, responses and embeddings APIs, and of DeepSeek."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    input_tokens_details: _Cached | None = None
    prompt_cache_hit_tokens: int | None = None

    def public(self) -> Usage:
        prompt = self.prompt_tokens or self.input_tokens or 0
        completion = self.completion_tokens or self.output_tokens or 0
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = (details and details.cached_tokens) or self.prompt_cache_hit_tokens or 0
        return Usage(prompt, completion, self.total_tokens or prompt + completion, cached)


class _Envelope(msgspec.Struct):
    model: str | None = None
    usage: UsageFields | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Envelope).decode


def read_envelope(reply: Reply) -> None:
    """Fill in a reply's usage and model from its body.

    Raises `InvalidReply` where a success by status holds an error object, nothing, or something that is
    neither JSON nor declared as another content type.
    """
    try:
        envelope = _decode(reply.content)
    except msgspec.ValidationError:
        # JSON, but shaped otherwise (a list, an unusual usage); the caller reads .body
        if isinstance(reply.body, dict) and reply.body.get("error") is not None:
            raise _holds_error(reply) from None
        return
    except NOT_JSON as error:
        if reply.status == 204 or _declared_otherwise(reply):
            return
        # Not by way of a variable: with a traceback it would be shown, and the key in it if it is echoed.
        raise InvalidReply(
            f"status {reply.status}, but the body is not JSON: "
            f"{shown(reply.content) if reply.content else 'nothing'}"
        ) from error
    reply.model = envelope.model
    if envelope.usage is not None:
        reply.usage = envelope.usage.public()
    if bytes(envelope.error) != b"null":
        raise _holds_error(reply)


def _holds_error(reply: Reply) -> InvalidReply:
    return InvalidReply(f"status {reply.status}, but the body is an error: {shown(reply.content)}")


def _declared_otherwise(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").lower()
    return bool(kind) and "json" not in kind and not kind.startswith("text/html")
