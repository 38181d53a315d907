"""The innermost step of every pipeline: turns a response into a reply or a typed error."""

from __future__ import annotations

import copy
import math
from collections.abc import Awaitable
from typing import Any

import anyio
import attrs

from headrace._support.text import printable, shown
from headrace.calls import Call
from headrace.endpoint import Endpoint
from headrace.errors import (
    AnswerError,
    AuthenticationError,
    CallError,
    CallTimeout,
    InvalidReply,
    RateLimited,
    ServerError,
    StatusError,
)
from headrace.keys import RefreshableKey
from headrace.limiter_tokens import acquire_all
from headrace.pipeline.chunk_reader import open_stream, stop_asking_for_usage
from headrace.pipeline.schema_modes import SchemaModes, rejects_format
from headrace.policies import Send
from headrace.replies import Headers, ParsedReply, Reply
from headrace.wire.error_bodies import MAX_MESSAGE_CHARS, is_retryable, parse_error_body
from headrace.wire.error_redaction import redact_error
from headrace.wire.finish_reasons import refusal_error, with_finish_reason
from headrace.wire.reply_bodies import CHAT, expected_body, read_reply_body
from headrace.wire.request_bodies import encode_body
from headrace.wire.structured_output import ResponseFormat, SchemaMode

_ADVICE = {
    400: "the endpoint rejects the request",
    401: "the endpoint refuses the key; check OPENAI_API_KEY or api_key=",
    402: "the account has no credit left; add some, or use another key",
    403: "the key or account lacks the permission; check it at the provider",
    404: "no such path or model there; check base_url and model",
    405: "the path does not accept this method; check base_url",
    413: "the request is too large for the endpoint",
    429: "the endpoint's rate limit is reached",
}


def with_raise_for_status(send: Send, max_stream_bytes: float = math.inf) -> Send:
    """A transport's ``send`` that counts attempts, reads the body and raises errors by status.

    Args:
        send: Makes one attempt.
        max_stream_bytes: Maximum size of a streamed response.
    """

    async def attempt(call: Call) -> Reply:
        if call._to_reacquire:  # a policy continues although its `Call.waiting` was cancelled
            await acquire_all(call, call._to_reacquire)
        call.attempts += 1
        endpoint, request = call.endpoint, call.request
        reply: Reply | None = None
        try:
            if call.streamed:
                reply = await streamed_attempt(call)
            elif request.answer is not None:
                reply = await structured_attempt(call, request.answer)
            else:
                reply = await (send(call) if endpoint.is_plain else send_rewritten(send, call))
                if not 200 <= reply.status < 300:
                    raise status_error(call, reply)
                try:
                    read_reply_body(reply, expected_body(request.path) if request.method == "POST" else None)
                except InvalidReply:
                    if request.method != "HEAD" or reply.content:
                        raise
        except CallError as error:
            reply = None  # some tools show the variables of a traceback
            redact_error(error, endpoint)
            raise
        reply._endpoint = endpoint
        return reply

    async def streamed_attempt(call: Call) -> Reply:
        if call.endpoint in without_usage:
            stop_asking_for_usage(call)
        reply = await send_rewritten(send, call)
        if (
            reply.status in {400, 422}
            and b"stream_options" in reply.content
            and call.endpoint not in without_usage
            and stop_asking_for_usage(call)
        ):
            without_usage.add(call.endpoint)
            call.attempts += 1
            reply = await send_rewritten(send, call)
        if 200 <= reply.status < 300:
            return await open_stream(call, reply, max_stream_bytes)
        raise status_error(call, reply)

    async def structured_attempt(call: Call, answer: ResponseFormat) -> Reply:
        endpoint, model = call.endpoint, call.request.model
        rejected: list[tuple[SchemaMode, bytes]] = []
        for mode in modes.remaining(endpoint, model, answer):
            call.attempts += bool(rejected)
            set_response_format(call, answer, mode)
            reply = await send_rewritten(send, call)
            if reply.status not in {400, 422} or not rejects_format(reply.content):
                for rejected_mode, content in rejected:
                    modes.reject(endpoint, model, answer, rejected_mode, content)
                break
            rejected.append((mode, reply.content))
        if not 200 <= reply.status < 300:
            raise status_error(call, reply)
        read_reply_body(reply, CHAT)
        return parse_reply(reply, answer)

    without_usage: set[Endpoint] = set()
    modes = SchemaModes()
    return attempt


def send_rewritten(send: Send, call: Call) -> Awaitable[Reply]:
    """Send a call with the model name, the path and the key that its endpoint uses."""
    rewritten, key = rewrite_for_endpoint(call), call.endpoint.api_key
    if isinstance(key, RefreshableKey):
        return _send_with_refreshable_key(send, key, call, rewritten)
    return send(rewritten)


async def _send_with_refreshable_key(send: Send, key: RefreshableKey, call: Call, rewritten: Call) -> Reply:
    """Send; if the endpoint rejects the key and there is a new one, send again."""
    if key.version == 0:
        call.attempts -= 1  # nothing has been sent yet
        await refresh_key(key, 0, call)
        call.attempts += 1
    version = key.version
    reply = await send(rewritten)
    if reply.status == 401 and await refresh_key(key, version, call):
        call.attempts += 1
        reply = await send(rewritten)
    return reply


async def refresh_key(key: RefreshableKey, version: int, call: Call) -> bool:
    """Refresh a key within the time limit of an attempt; see `RefreshableKey.refresh`."""
    if key.version != version:  # another call has refreshed it
        return True
    limit = call.timeout.total
    async with call.waiting():
        with anyio.move_on_after(limit):
            return await key.refresh(version)
    raise CallTimeout(f"the function passed as api_key= returned no key within {limit:g} s; raise timeout=")


def rewrite_for_endpoint(call: Call) -> Call:
    """The call with the model name and the path that its endpoint uses."""
    endpoint, request = call.endpoint, call.request
    if endpoint.is_plain:
        return call
    model, body = request.model, request.body
    name = None if model is None else endpoint.name_of(model)
    rewritten = copy.copy(call)
    if body is not None and name != model:
        body = {**body, "model": name}
        rewritten.content = encode_body(body)
    rewritten.request = attrs.evolve(request, body=body, path=endpoint.target(request.path, name))
    return rewritten


def set_response_format(call: Call, answer: ResponseFormat, mode: SchemaMode) -> None:
    """Change the body of a call so that it requests an answer in this mode."""
    before = call.request.body or {}
    if mode is SchemaMode.JSON_SCHEMA and answer.is_requested_by(before):
        return
    body = answer.apply_to(before, mode)
    if body != before:
        call.request = attrs.evolve(call.request, body=body)
        call.content = encode_body(body)


def parse_reply(reply: Reply, answer: ResponseFormat) -> ParsedReply[Any]:
    """The reply with its answer parsed.

    Args:
        reply: The reply to a call with ``answer=``.
        answer: The format of the answer.

    Raises:
        AnswerError: The answer does not fit the format; ``partial`` is the reply.
    """
    try:
        value = _read_answer(reply, answer)
    except AnswerError as error:
        error.partial = reply
        raise
    return ParsedReply(reply.status, reply.headers, reply.content, reply.usage, reply.model, answer=value)


def _read_answer(reply: Reply, answer: ResponseFormat) -> Any:
    refusal = refusal_error(reply)
    if refusal is not None:
        raise refusal
    try:
        return answer.parse(reply.text)
    except AnswerError as error:
        raise with_finish_reason(reply, error) from error.__cause__


def status_error(call: Call, reply: Reply) -> StatusError:
    """The error for a response whose status is not 2xx; its class depends on the status."""
    status, content, headers = reply.status, reply.content, reply.headers
    error = parse_error_body(content)
    advice = _ADVICE.get(status, "the endpoint failed" if status >= 500 else "")
    if 300 <= status < 400:
        # Following it would send the key to another server.
        advice = f"redirected to {headers.get('location', '?')!r}, not followed; check base_url"
    elif status in {400, 422} and error.param:
        advice = f"the endpoint rejects {printable(error.param[:100])}; change it"
    if error.message:
        text = printable(error.message[:MAX_MESSAGE_CHARS])
    else:
        text = shown(content) if content else "no body"
    where = f"{call.request.method} {call.request.path}: status {status}"
    kind: type[StatusError] = StatusError
    if status == 401:
        kind = AuthenticationError
        if not call.endpoint.has_fixed_key:
            advice = "the endpoint refuses the key, and the function passed as api_key= returned no other key"
    elif status == 429:
        kind = RateLimited
        if error.is_quota_error:
            advice = _ADVICE[402]
        elif error.limit == "overloaded":
            advice = "the endpoint is overloaded"
    elif status >= 500:
        kind = ServerError
    return kind(
        f"{text} ({where}; {advice})" if advice else f"{text} ({where})",
        status,
        headers,
        content,
        error.code,
        param=error.param,
        retryable=_may_be_retried(status, headers) and not error.is_quota_error,
        limit="quota" if error.is_quota_error or status == 402 else error.limit if status == 429 else None,
        body_retry_after=error.retry_after,
    )


def _may_be_retried(status: int, headers: Headers) -> bool:
    """Whether a retry can help: by ``x-should-retry``, or else by the status."""
    value = headers.get("x-should-retry", "").strip().lower()
    return value == "true" if value in {"true", "false"} else is_retryable(status)
