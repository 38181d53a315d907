"""Which calls can be cached, and under which key."""

from __future__ import annotations

import hashlib
import re

import msgspec

from headrace import Call, Endpoint

_CACHEABLE_PATHS = re.compile(r"(/.*)?/(completions|embeddings)|(/v1)?/(messages|responses)")
"""Paths of calls whose only effect is an answer; a call to another path may have other effects."""

_STATEFUL = ("background", "conversation")
"""Members of a ``/responses`` body: the answer comes later, or part of the question is on the server."""

_PER_CALL_HEADERS = frozenset(
    {"baggage", "idempotency-key", "traceparent", "tracestate", "user-agent", "x-client-request-id"}
)
_SDK_HEADER_PREFIX = "x-stainless-"

_encode = msgspec.json.Encoder().encode


def is_cacheable(call: Call) -> bool:
    """Whether a later call may get the answer to ``call``; False for streams."""
    request = call.request
    if call.streamed or request.method != "POST":
        return False
    path = request.path.partition("?")[0]
    if not _CACHEABLE_PATHS.fullmatch(path):
        return False
    return not (path.endswith("/responses") and any((request.body or {}).get(name) for name in _STATEFUL))


def cache_key(call: Call, endpoint: Endpoint) -> bytes:
    """SHA-256 of everything that an answer of ``endpoint`` depends on, before any policy changes the call.

    That is: the URL with path and query, the model's name at the endpoint, the endpoint's key (or its name if
    the key changes), the headers (except those of one call or of the SDK), the body, and the schema of the
    answer's type. Secrets cannot be recovered from it.
    """
    request = call.request
    model = None if request.model is None else endpoint.name_of(request.model)
    head = (
        endpoint.base_url + endpoint.target(request.path, model),
        model,
        _account(endpoint),
        _relevant_headers([*endpoint.headers.items(), *request.headers]),
        None if request.answer is None else request.answer.schema,
    )
    # JSON marks its own end, so no two calls hash the same bytes.
    digest = hashlib.sha256(_encode(head))
    digest.update(call.content)
    return digest.digest()


def _account(endpoint: Endpoint) -> tuple[str | None, ...] | None:
    """The owner of an endpoint's answers: its key, or its name if the key changes."""
    if endpoint.api_key is None:
        return None
    if endpoint.has_fixed_key:
        return endpoint.key_header, endpoint.api_key.reveal()
    return endpoint.key_header, None, endpoint.name


def _relevant_headers(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    lowered = sorted((name.lower(), value) for name, value in headers)
    return [
        (name, value)
        for name, value in lowered
        if name not in _PER_CALL_HEADERS and not name.startswith(_SDK_HEADER_PREFIX)
    ]
