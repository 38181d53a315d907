"""What a call is for, as far as it is known before it is made: operation, provider, model, server.

Samplers decide by these, and they are what metrics are split by, so they have few values each.
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
"""By the end of the path of a POST, the first that fits."""

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
"""By the end of the host's name."""

_VERSION = re.compile(r"^/v\d\w*(?=/)")


@attrs.frozen
class Target:
    """What a call is for: the name of its span, and the attributes of its span and of all metrics."""

    span_name: str
    operation: str
    attributes: Mapping[str, Value]


def target_of(endpoint: Endpoint, method: str, path: str, model: str | None) -> Target:
    """The target of a call, without the endpoint's key in it, wherever somebody put that."""
    path = path.partition("?")[0]
    url = urlsplit(endpoint.base_url)
    host = url.hostname or ""
    operation = _operation(method, path)
    if operation is not None:
        name = f"{operation} {model}" if model is not None else operation
    else:
        # Only where the path begins: what follows may be the name of one file among thousands.
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
    attributes = without_key(endpoint, attributes)
    return Target(str(without_key(endpoint, {"": name})[""]), operation, attributes)


def _operation(method: str, path: str) -> str | None:
    if method != "POST":
        return None
    return next((operation for end, operation in _OPERATIONS if path.endswith(end)), None)


def provider_of(host: str) -> str:
    """The provider that a host belongs to; ``openai``, whose API it speaks, for all that are not known.

    So the conventions have it: the name says which API's form the telemetry has, and ``server.address`` whose
    server it is.
    """
    for pattern, provider in _PROVIDERS:
        if re.search(rf"(^|\.){pattern}$", host):
            return provider
    return "openai"


def without_key(endpoint: Endpoint, attributes: Mapping[str, Value]) -> dict[str, Value]:
    """``attributes``, the endpoint's key blotted out of all texts: some repeat the one that they refuse."""

    if not endpoint.may_show_key:
        return dict(attributes)
    blotted = endpoint.without_key
    return {
        name: blotted(value)
        if isinstance(value, str)
        else tuple(map(blotted, value))
        if isinstance(value, tuple)
        else value
        for name, value in attributes.items()
    }
