"""The innermost step of every pipeline: an answer over the wire becomes a reply or a typed error."""

from __future__ import annotations

import copy
import math
from typing import Any, TypeVar

import attrs

from headrace.answers import AnswerFormat, Asking
from headrace.endpoints import Endpoint
from headrace.envelope import CHAT, expected_of, read_envelope
from headrace.error_bodies import MOST_SAID, is_retryable, read_error
from headrace.errors import (
    AnswerError,
    AuthenticationError,
    CallError,
    InvalidReply,
    RateLimited,
    ServerError,
    StatusError,
)
from headrace.finish_reasons import refusal_of, unfit
from headrace.model import Call, Send
from headrace.reply import Answered, Headers, Reply, printable, shown
from headrace.requests import encode_body
from headrace.streaming import open_stream, stop_asking_for_usage

CallErrorT = TypeVar("CallErrorT", bound=CallError)

_ADVICE = {
    400: "the endpoint finds the request wrong",
    401: "the endpoint refuses the key; check OPENAI_API_KEY or api_key=",
    403: "the key may not do this",
    404: "no such path or model there; check base_url and model",
    413: "the request is too large for the endpoint",
    429: "the endpoint's rate limit is reached",
}


def checked(send: Send, max_stream_bytes: float = math.inf) -> Send:
    """Wrap a transport's ``send``: count the attempt, read the envelope, raise what is no success."""

    async def attempt(call: Call) -> Reply:
        call.attempts += 1
        if call.streamed:
            return await streamed_attempt(call)
        if call.request.answer is not None:
            return await answered_attempt(call, call.request.answer)
        reply = await send(call if call.endpoint.is_plain else addressed(call))
        if 200 <= reply.status < 300:
            request = call.request
            try:
                read_envelope(reply, expected_of(request.path) if request.method == "POST" else None)
            except InvalidReply as error:
                if request.method == "HEAD" and not reply.content:
                    return reply
                raise _without_key(call, error) from error.__cause__
            return reply
        raise status_error(call, reply)

    async def streamed_attempt(call: Call) -> Reply:
        if call.endpoint in without_usage:
            stop_asking_for_usage(call)
        reply = await send(addressed(call))
        if (
            reply.status in {400, 422}
            and b"stream_options" in reply.content
            and call.endpoint not in without_usage
            and stop_asking_for_usage(call)
        ):
            without_usage.add(call.endpoint)
            call.attempts += 1
            reply = await send(addressed(call))
        if 200 <= reply.status < 300:
            return await open_stream(call, reply, max_stream_bytes)
        raise status_error(call, reply)

    async def answered_attempt(call: Call, answer: AnswerFormat) -> Reply:
        how = taken_by.get(call.endpoint, Asking.BY_SCHEMA)
        while True:
            ask_for_answer(call, answer, how)
            reply = await send(addressed(call))
            if reply.status not in {400, 422} or how is Asking.IN_WORDS or not _refuses_format(reply):
                break
            how = taken_by[call.endpoint] = Asking(how + 1)
            call.attempts += 1
        if not 200 <= reply.status < 300:
            raise status_error(call, reply)
        try:
            read_envelope(reply, CHAT)
            return answered(reply, answer)
        except (AnswerError, InvalidReply) as error:
            raise _without_key(call, error) from error.__cause__

    without_usage: set[Endpoint] = set()
    taken_by: dict[Endpoint, Asking] = {}
    return attempt


def addressed(call: Call) -> Call:
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


def ask_for_answer(call: Call, answer: AnswerFormat, how: Asking) -> None:
    """Have a call's body ask for an answer in this way."""
    asking = call.request.body or {}
    if how is Asking.BY_SCHEMA and answer.asks(asking):
        return
    body = answer.asked_for(asking, how)
    if body != asking:
        call.request = attrs.evolve(call.request, body=body)
        call.content = encode_body(body)


def answered(reply: Reply, answer: AnswerFormat) -> Answered[Any]:
    """The reply with its answer; raises `AnswerError`, of which ``partial`` is the reply."""
    try:
        value = _read_answer(reply, answer)
    except AnswerError as error:
        error.partial = reply
        raise
    return Answered(reply.status, reply.headers, reply.content, reply.usage, reply.model, answer=value)


def _read_answer(reply: Reply, answer: AnswerFormat) -> Any:
    refusal = refusal_of(reply)
    if refusal is not None:
        raise AnswerError(f"{printable(refusal[:MOST_SAID])} (the model refuses)", "refusal")
    try:
        return answer.read(reply.text)
    except AnswerError as error:
        raise unfit(reply, error) from error.__cause__


def _without_key(call: Call, error: CallErrorT) -> CallErrorT:
    """The error, less the key in what it repeats of the endpoint's words."""
    error.args = (call.endpoint.without_key(str(error).encode()).decode(), *error.args[1:])
    return error


def _refuses_format(reply: Reply) -> bool:
    return any(word in reply.content for word in (b"response_format", b"json_schema", b"json_object"))


def status_error(call: Call, reply: Reply) -> StatusError:
    """The error for an answer whose status is not 2xx, of the class that its status asks for."""
    less_key = call.endpoint.without_key
    status, content = reply.status, less_key(reply.content)
    headers = Headers([(name, less_key(value)) for name, value in reply.headers.raw])
    error = read_error(content)
    advice = _ADVICE.get(status, "the endpoint failed" if status >= 500 else "")
    if 300 <= status < 400:
        # Following would carry the key to wherever the answer points.
        advice = f"redirected to {headers.get('location', '?')!r}, not followed; check base_url"
    said = (
        printable(error.message[:MOST_SAID]) if error.message else (shown(content) if content else "no body")
    )
    where = f"{call.request.method} {call.request.path}: status {status}"
    kind: type[StatusError] = StatusError
    if status == 401:
        kind = AuthenticationError
        said = ""  # what it says of the key may hold more of it than could be left out
    elif status == 429:
        kind = RateLimited
        if error.is_about_quota:
            advice = "the account has no credit left; add some, or use another key"
        elif error.limit == "overloaded":
            advice = "the endpoint is overloaded"
    elif status >= 500:
        kind = ServerError
    ours = f"{where}; {advice}" if advice else where
    text = f"{said} ({ours})" if said else ours
    return kind(
        text,
        status,
        headers,
        content,
        error.code,
        param=error.param,
        retryable=_may_be_retried(status, headers) and not error.is_about_quota,
        limit="quota" if error.is_about_quota or status == 402 else error.limit if status == 429 else None,
        asked=error.retry_after,
    )


def _may_be_retried(status: int, headers: Headers) -> bool:
    """What ``x-should-retry`` says, and without it the status."""
    said = headers.get("x-should-retry", "").strip().lower()
    return said == "true" if said in {"true", "false"} else is_retryable(status)
