"""Which calls have an answer that may be kept, and under which key."""

from __future__ import annotations

import hashlib
import re

import msgspec

from headrace import Call, Endpoint

_ANSWERED = re.compile(r"(/.*)?/(completions|embeddings)|(/v1)?/(messages|responses)")
"""Paths whose answer is all that a call to them is for; of others nobody knows what a call does there."""

_STATEFUL = ("background", "conversation")
"""Of a response: it comes later, or its question is in part elsewhere."""

_OF_ONE_CALL = frozenset(
    {"baggage", "idempotency-key", "traceparent", "tracestate", "user-agent", "x-client-request-id"}
)
_OF_THE_SDK = "x-stainless-"

_encode = msgspec.json.Encoder().encode


def may_be_kept(call: Call) -> bool:
    """Whether the answer to ``call`` is one that a later call may have; none of a stream is."""
    request = call.request
    if call.streamed or request.method != "POST":
        return False
    path = request.path.partition("?")[0]
    if not _ANSWERED.fullmatch(path):
        return False
    return not (path.endswith("/responses") and any((request.body or {}).get(name) for name in _STATEFUL))


def key_of(call: Call, endpoint: Endpoint) -> bytes:
    """SHA-256 of all that an answer of ``endpoint`` depends on, before anything has changed the call.

    That is the URL with its path and query as they are written there, the model's name there, the endpoint's
    key (or its name, where the key changes), the headers (less those which name one call, or the SDK), the
    body, and the schema of the type that is asked for. The secrets among it go in, and none can be had back
    out.
    """
    request = call.request
    model = None if request.model is None else endpoint.name_of(request.model)
    head = (
        endpoint.base_url + endpoint.target(request.path, model),
        model,
        _account(endpoint),
        _counted([*endpoint.headers.items(), *request.headers]),
        None if request.answer is None else request.answer.schema,
    )
    # JSON says itself where it ends, so that no two calls make the same bytes.
    digest = hashlib.sha256(_encode(head))
    digest.update(call.content)
    return digest.digest()


def _account(endpoint: Endpoint) -> tuple[str | None, ...] | None:
    """Whose answers they are: a key's, or the endpoint's by its name where keys follow each other."""
    if endpoint.api_key is None:
        return None
    if endpoint.has_fixed_key:
        return endpoint.key_header, endpoint.api_key.reveal()
    return endpoint.key_header, None, endpoint.name


def _counted(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    lowered = sorted((name.lower(), value) for name, value in headers)
    return [pair for pair in lowered if pair[0] not in _OF_ONE_CALL and not pair[0].startswith(_OF_THE_SDK)]
