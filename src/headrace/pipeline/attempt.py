"""The innermost step of every pipeline: an answer over the wire becomes a reply or a typed error."""

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
from headrace.pipeline.chunk_reader import open_stream, stop_asking_for_usage
from headrace.pipeline.schema_modes import SchemaModes, refuses_format
from headrace.policies import Send
from headrace.replies import Headers, ParsedReply, Reply
from headrace.tokens import acquire_all
from headrace.wire.error_bodies import MAX_MESSAGE_CHARS, is_retryable, parse_error_body
from headrace.wire.error_redaction import redact_error
from headrace.wire.finish_reasons import refusal_text, with_finish_reason
from headrace.wire.reply_bodies import CHAT, expected_body, read_reply_body
from headrace.wire.request_bodies import encode_body
from headrace.wire.structured_output import ResponseFormat, SchemaMode

_ADVICE = {
    400: "the endpoint finds the request wrong",
    401: "the endpoint refuses the key; check OPENAI_API_KEY or api_key=",
    402: "the account has no credit left; add some, or use another key",
    403: "this key or account may not do this; check its permissions",
    404: "no such path or model there; check base_url and model",
    405: "that path does not take such calls; check base_url",
    413: "the request is too large for the endpoint",
    429: "the endpoint's rate limit is reached",
}


def with_raise_for_status(send: Send, max_stream_bytes: float = math.inf) -> Send:
    """Wrap a transport's ``send``: count the attempt, read the envelope, raise what is no success."""

    async def attempt(call: Call) -> Reply:
        if call._to_reacquire:  # a policy was cancelled in `Call.waiting`, and goes on all the same
            await acquire_all(call, call._to_reacquire)
        call.attempts += 1
        endpoint, request = call.endpoint, call.request
        reply: Reply | None = None
        try:
            if call.streamed:
                reply = await streamed_attempt(call)
            elif request.answer is not None:
                reply = await answered_attempt(call, request.answer)
            else:
                reply = await (send(call) if endpoint.is_plain else send_there(call))
                if not 200 <= reply.status < 300:
                    raise status_error(call, reply)
                try:
                    read_reply_body(reply, expected_body(request.path) if request.method == "POST" else None)
                except InvalidReply:
                    if request.method != "HEAD" or reply.content:
                        raise
        except CallError as error:
            reply = None  # there are tools that show a traceback's variables
            redact_error(error, endpoint)
            raise
        reply._endpoint = endpoint
        return reply

    def send_there(call: Call) -> Awaitable[Reply]:
        there, key = rewrite_for_endpoint(call), call.endpoint.api_key
        return sent_with(key, call, there) if isinstance(key, RefreshableKey) else send(there)

    async def sent_with(key: RefreshableKey, call: Call, there: Call) -> Reply:
        """Send with a key that changes, and once more where another one takes the place of one refused."""
        if key.version == 0:
            call.attempts -= 1  # nothing is on the wire yet
            await refresh_key(key, 0, call)
            call.attempts += 1
        version = key.version
        reply = await send(there)
        if reply.status == 401 and await refresh_key(key, version, call):
            call.attempts += 1
            reply = await send(there)
        return reply

    async def streamed_attempt(call: Call) -> Reply:
        if call.endpoint in without_usage:
            stop_asking_for_usage(call)
        reply = await send_there(call)
        if (
            reply.status in {400, 422}
            and b"stream_options" in reply.content
            and call.endpoint not in without_usage
            and stop_asking_for_usage(call)
        ):
            without_usage.add(call.endpoint)
            call.attempts += 1
            reply = await send_there(call)
        if 200 <= reply.status < 300:
            return await open_stream(call, reply, max_stream_bytes)
        raise status_error(call, reply)

    async def answered_attempt(call: Call, answer: ResponseFormat) -> Reply:
        endpoint, model = call.endpoint, call.request.model
        refused: list[tuple[SchemaMode, bytes]] = []
        for how in ways.left(endpoint, model, answer):
            call.attempts += bool(refused)
            set_response_format(call, answer, how)
            reply = await send_there(call)
            if reply.status not in {400, 422} or not refuses_format(reply.content):
                for asked, content in refused:
                    ways.refused(endpoint, model, answer, asked, content)
                break
            refused.append((how, reply.content))
        if not 200 <= reply.status < 300:
            raise status_error(call, reply)
        read_reply_body(reply, CHAT)
        return parse_reply(reply, answer)

    without_usage: set[Endpoint] = set()
    ways = SchemaModes()
    return attempt


async def refresh_key(key: RefreshableKey, version: int, call: Call) -> bool:
    """See `RefreshableKey.refresh`; raises `CallTimeout` where that takes longer than an attempt may."""
    if key.version != version:  # another call has asked
        return True
    limit = call.timeout.total
    async with call.waiting():
        with anyio.move_on_after(limit):
            return await key.refresh(version)
    raise CallTimeout(f"api_key gave no key within {limit:g} s; raise timeout=")


def rewrite_for_endpoint(call: Call) -> Call:
    """The call as its endpoint wants it: the model by its name there, the path as it is written there."""
    endpoint, request = call.endpoint, call.request
    if endpoint.is_plain:
        return call
    model, body = request.model, request.body
    name = None if model is None else endpoint.name_of(model)
    there = copy.copy(call)
    if body is not None and name != model:
        body = {**body, "model": name}
        there.content = encode_body(body)
    there.request = attrs.evolve(request, body=body, path=endpoint.target(request.path, name))
    return there


def set_response_format(call: Call, answer: ResponseFormat, how: SchemaMode) -> None:
    """Have a call's body ask for an answer in this way."""
    asking = call.request.body or {}
    if how is SchemaMode.JSON_SCHEMA and answer.is_requested_by(asking):
        return
    body = answer.apply_to(asking, how)
    if body != asking:
        call.request = attrs.evolve(call.request, body=body)
        call.content = encode_body(body)


def parse_reply(reply: Reply, answer: ResponseFormat) -> ParsedReply[Any]:
    """The reply with its answer; raises `AnswerError`, of which ``partial`` is the reply."""
    try:
        value = _read_answer(reply, answer)
    except AnswerError as error:
        error.partial = reply
        raise
    return ParsedReply(reply.status, reply.headers, reply.content, reply.usage, reply.model, answer=value)


def _read_answer(reply: Reply, answer: ResponseFormat) -> Any:
    refusal = refusal_text(reply)
    if refusal is not None:
        raise AnswerError(f"{printable(refusal[:MAX_MESSAGE_CHARS])} (the model refuses)", "refusal")
    try:
        return answer.read(reply.text)
    except AnswerError as error:
        raise with_finish_reason(reply, error) from error.__cause__


def status_error(call: Call, reply: Reply) -> StatusError:
    """The error for an answer whose status is not 2xx, of the class that its status asks for."""
    status, content, headers = reply.status, reply.content, reply.headers
    error = parse_error_body(content)
    advice = _ADVICE.get(status, "the endpoint failed" if status >= 500 else "")
    if 300 <= status < 400:
        # Following would carry the key to wherever the answer points.
        advice = f"redirected to {headers.get('location', '?')!r}, not followed; check base_url"
    elif status in {400, 422} and error.param:
        advice = f"the endpoint finds {printable(error.param[:100])} wrong; change it"
    said = (
        printable(error.message[:MAX_MESSAGE_CHARS])
        if error.message
        else (shown(content) if content else "no body")
    )
    where = f"{call.request.method} {call.request.path}: status {status}"
    kind: type[StatusError] = StatusError
    if status == 401:
        kind = AuthenticationError
        if not call.endpoint.has_fixed_key:
            advice = "the endpoint refuses the key, and api_key= gave no better one when asked again"
    elif status == 429:
        kind = RateLimited
        if error.is_quota_error:
            advice = _ADVICE[402]
        elif error.limit == "overloaded":
            advice = "the endpoint is overloaded"
    elif status >= 500:
        kind = ServerError
    return kind(
        f"{said} ({where}; {advice})" if advice else f"{said} ({where})",
        status,
        headers,
        content,
        error.code,
        param=error.param,
        retryable=_may_be_retried(status, headers) and not error.is_quota_error,
        limit="quota" if error.is_quota_error or status == 402 else error.limit if status == 429 else None,
        asked=error.retry_after,
    )


def _may_be_retried(status: int, headers: Headers) -> bool:
    """What ``x-should-retry`` says, and without it the status."""
    said = headers.get("x-should-retry", "").strip().lower()
    return said == "true" if said in {"true", "false"} else is_retryable(status)
