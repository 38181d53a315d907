"""From what a caller has (a prompt, messages, a body, a line of a batch file) to a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import attrs
import msgspec

from headrace.calls import Request, plain_request
from headrace.errors import RequestError
from headrace.wire.batch_lines import EncodedBody
from headrace.wire.json_encoding import encode_value, to_plain_and_json
from headrace.wire.parameters import CHAT_PARAMETERS, RESPONSE_PARAMETERS, check_parameters
from headrace.wire.structured_output import ResponseFormat, response_format_for

Message: TypeAlias = Mapping[str, Any]


class HasRequest(Protocol):
    """An item of a map that carries its request: a row, say, which comes back as `Outcome.item`."""

    @property
    def request(self) -> Request: ...


RequestLike: TypeAlias = str | Mapping[str, Any] | Request | HasRequest
"""What a map makes a call for: a prompt, a body, a line of OpenAI's batch format, or a request."""

OUTPUT_LIMIT_PARAMETERS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Parameters that limit the tokens of an answer."""

encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def chat_body(
    messages: str | Iterable[Message], parameters: Mapping[str, Any], also: Iterable[str] = ()
) -> dict[str, Any]:
    """The body of a chat completion.

    Raises `RequestError` for parameters that the API does not have; ``also`` are keywords that may have been
    meant.
    """
    check_parameters("chat", parameters, CHAT_PARAMETERS, also)
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    else:
        messages = _messages("messages", messages)
    return {"messages": messages, **parameters}


def response_body(
    input: str | Iterable[Message],
    instructions: str | None,
    parameters: Mapping[str, Any],
    also: Iterable[str] = (),
) -> dict[str, Any]:
    """The body of a response; arguments and errors as with `chat_body`."""
    check_parameters("responses", parameters, RESPONSE_PARAMETERS, also)
    body = {"input": input if isinstance(input, str) else _messages("input", input), **parameters}
    if instructions is not None:
        if not isinstance(instructions, str):
            raise RequestError(f"instructions must be a text, not {type(instructions).__name__}")
        body["instructions"] = instructions
    return body


def _messages(name: str, messages: Iterable[Message]) -> list[Message]:
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        raise RequestError(f"{name} must be a text or a list of messages, not {type(messages).__name__}")
    messages = list(messages)
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        raise RequestError(f"{name} must be a text or a list of mappings like {{'role': …, 'content': …}}")
    return messages


def as_request(item: Any, model: str | None, answer: ResponseFormat | None = None) -> Request:
    """The request that an item of a map stands for.

    A `Request` is taken as it is, a text is a chat prompt, a mapping is the body of a chat completion or
    a line of OpenAI's batch format (``custom_id``, ``method``, ``url``, ``body``). ``model`` is filled in
    where the body names none, ``answer`` where the request has none. Raises `RequestError` for anything else.
    """
    request = item if isinstance(item, Request) else _request_of(item, model)
    body = request.body
    if body is None:
        return request if answer is None else attrs.evolve(request, answer=answer)
    if type(body) is dict:  # the usual one; to ask abstract classes takes 2 % of a call
        named, streamed = body.get("model"), body.get("stream")
    elif isinstance(body, EncodedBody):
        named, streamed = body.fields.model, body.fields.stream
    elif isinstance(body, Mapping):
        named, streamed = body.get("model"), body.get("stream")
    else:
        raise RequestError(f"a request's body is a mapping, not {type(body).__name__}")
    if streamed:
        raise RequestError("the body says 'stream': a call gives a whole answer; leave it out")
    if named is None:
        if model is None:
            raise RequestError("no model: pass model= to the client or to the call")
        request = attrs.evolve(request, body={"model": model, **body} | {"model": model})
        named = model
    if not isinstance(named, str) or not named.isprintable():
        raise RequestError(
            f"model {named!r} is not a string, or holds a line break or another control character"
        )
    if request.answer is not None:
        answer = response_format_for(request.answer)
    return request if answer is None else _asking(request, request.body or {}, answer)


def _asking(request: Request, body: Mapping[str, Any], answer: ResponseFormat) -> Request:
    """A request whose body asks for this answer."""
    if request.answer is not answer:
        request = attrs.evolve(request, answer=answer)
    if answer.is_requested_by(body):
        return request
    if "response_format" in body:
        raise RequestError("answer= sets response_format itself; leave one of them out")
    return attrs.evolve(request, body=answer.apply_to(body))


def _request_of(item: Any, model: str | None) -> Request:
    # The model goes in here already: a copy of the request with another body takes twice as long to make.
    if isinstance(item, str):
        messages = [{"role": "user", "content": item}]
        body = {"messages": messages} if model is None else {"model": model, "messages": messages}
        return plain_request(body)
    own = getattr(item, "request", None)
    if isinstance(own, Request):
        return own
    if isinstance(item, Mapping):
        if "url" in item and "body" in item:
            return _from_batch_line(item)
        named = model is None or item.get("model") is not None
        return plain_request(item if named else {"model": model, **item} | {"model": model})
    raise RequestError(f"a request is a text, a mapping or a headrace.Request, not {type(item).__name__}")


def _from_batch_line(line: Mapping[str, Any]) -> Request:
    url, custom_id = line["url"], line.get("custom_id")
    if not isinstance(url, str) or not isinstance(line["body"], Mapping):
        raise RequestError("a batch line needs 'url' as a text and 'body' as an object")
    if custom_id is not None and not isinstance(custom_id, str):
        raise RequestError(f"custom_id {custom_id!r} is no text")
    return Request(
        line["body"],
        # The format writes the API's version into the path; here it is part of the base URL.
        path=url.removeprefix("/v1"),
        method=str(line.get("method", "POST")).upper(),
        id=custom_id,
    )


def max_output_tokens(body: Mapping[str, Any], assumed: int | None) -> int | None:
    """The most tokens that answers to a body may have, all of its ``n`` together.

    ``assumed`` where the body sets no limit to one of them, None where that is not known.
    """
    limits = [
        limit for limit in (_count(body.get(name)) for name in OUTPUT_LIMIT_PARAMETERS) if limit is not None
    ]
    each = max(limits) if limits else assumed
    return None if each is None else each * max(1, _count(body.get("n")) or 1)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def encode_body(body: Mapping[str, Any] | None) -> bytes:
    """The body as JSON; raises `RequestError` for what JSON cannot say."""
    if body is None:
        return b""
    return body.content if isinstance(body, EncodedBody) else encode_value(body, "body")


def encode_request(request: Request) -> tuple[Request, bytes]:
    """A request and its body as JSON; what is of other libraries' types in the body is of Python's own then.

    Raises `RequestError` for what JSON cannot say.
    """
    body = request.body
    if body is None:
        return request, b""
    if type(body) is not dict and isinstance(body, EncodedBody):
        return request, body.content
    plain, content = to_plain_and_json(body, "body")
    return (request if plain is body else attrs.evolve(request, body=plain)), content
