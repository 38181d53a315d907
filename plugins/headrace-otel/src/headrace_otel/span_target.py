"""The attributes of a call that are known before it is made: operation, provider, model and server.

Samplers use these attributes, and all metrics have them, so each has few values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import urlsplit

import attrs

from headrace import Endpoint

Value: TypeAlias = str | bool | int | float | tuple[str, ...]

_OPERATIONS = (
    ("/chat/completions", "chat"),
    ("/responses", "chat"),
    ("/messages", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    (":generateContent", "generate_content"),
    (":streamGenerateContent", "generate_content"),
)
"""By the end of the path of a POST; the first match counts."""

_PROVIDERS = (
    (r"openai\.azure\.com", "azure.ai.openai"),
    (r"(services|models|inference)\.ai\.azure\.com", "azure.ai.inference"),
    (r"anthropic\.com", "anthropic"),
    (r"mistral\.ai", "mistral_ai"),
    (r"deepseek\.com", "deepseek"),
    (r"groq\.com", "groq"),
    (r"x\.ai", "x_ai"),
    (r"perplexity\.ai", "perplexity"),
    (r"cohere\.(com|ai)", "cohere"),
    (r"moonshot\.(ai|cn)", "moonshot_ai"),
    (r"generativelanguage\.googleapis\.com", "gcp.gemini"),
    (r"([\w-]+-)?aiplatform\.googleapis\.com", "gcp.vertex_ai"),
    (r"bedrock[\w.-]*\.amazonaws\.com", "aws.bedrock"),
    (r"ml\.cloud\.ibm\.com", "ibm.watsonx.ai"),
)
"""By the end of the host name."""

_VERSION = re.compile(r"^/v\d\w*(?=/)")


@attrs.frozen
class SpanTarget:
    """The operation of a call, the name of its span, and the attributes of its span and of all metrics."""

    span_name: str
    operation: str
    attributes: Mapping[str, Value]


def span_target(endpoint: Endpoint, method: str, path: str, model: str | None) -> SpanTarget:
    """Return the target of a call, without the endpoint's key, even if it is in the path or the model."""
    path = path.partition("?")[0]
    url = urlsplit(endpoint.base_url)
    host = url.hostname or ""
    operation = _operation(method, path)
    if operation is not None:
        name = f"{operation} {model}" if model is not None else operation
    else:
        # Only the beginning of the path: the rest may be the name of one file among thousands.
        operation = _VERSION.sub("", path).lstrip("/").partition("/")[0] or "/"
        name = f"{method} /{operation.lstrip('/')}"
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider_of(host),
        "server.address": host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }
    if model is not None:
        attributes["gen_ai.request.model"] = model
    attributes = redact(endpoint, attributes)
    return SpanTarget(str(redact(endpoint, {"": name})[""]), operation, attributes)


def _operation(method: str, path: str) -> str | None:
    """Return the operation of a path, None if it is not known."""
    if method != "POST":
        return None
    return next((operation for end, operation in _OPERATIONS if path.endswith(end)), None)


def provider_of(host: str) -> str:
    """Return the provider of a host; ``openai`` for unknown hosts, because they speak its API.

    The conventions require this: the provider names the API format of the telemetry, and ``server.address``
    the server.
    """
    for pattern, provider in _PROVIDERS:
        if re.search(rf"(^|\.){pattern}$", host):
            return provider
    return "openai"


def redact(endpoint: Endpoint, attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Return attributes without the endpoint's key; some endpoints repeat a key that they reject."""
    if not endpoint.may_show_key:
        return dict(attributes)
    redacted = endpoint.without_key
    return {
        name: redacted(value)
        if isinstance(value, str)
        else tuple(map(redacted, value))
        if isinstance(value, tuple)
        else value
        for name, value in attributes.items()
    }
