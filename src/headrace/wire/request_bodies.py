"""Makes requests of a prompt, messages, a body, or a line of a batch file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import attrs
import msgspec

from headrace.calls import Request, RequestFields, plain_request
from headrace.errors import RequestError
from headrace.wire.batch_lines import EncodedBody, path_of_batch_url
from headrace.wire.json_encoding import encode_value, to_plain_and_json
from headrace.wire.parameters import CHAT_PARAMETERS, RESPONSE_PARAMETERS, check_parameters
from headrace.wire.structured_output import ResponseFormat, response_format_for

Message: TypeAlias = Mapping[str, Any]


class HasRequest(Protocol):
    """An item of a map with a request, such as a row; it is returned as `Outcome.item`."""

    @property
    def request(self) -> Request: ...


RequestLike: TypeAlias = str | Iterable[Message] | Mapping[str, Any] | Request | HasRequest
"""An item of a map: a prompt, messages, a body, a line of OpenAI's batch format, or a request."""

OUTPUT_LIMIT_PARAMETERS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Parameters that limit the tokens of an answer."""

encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def chat_body(
    messages: str | Iterable[Message], parameters: Mapping[str, Any], also: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the body of a chat completion.

    Args:
        messages: A prompt, or the messages.
        parameters: The API's parameters.
        also: Other keywords of the calling function, suggested for a misspelt parameter.

    Raises:
        RequestError: A parameter is unknown, or ``messages`` is not valid.
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
    """Return the body of a request to /responses; arguments and errors as in `chat_body`."""
    check_parameters("responses", parameters, RESPONSE_PARAMETERS, also)
    body = {"input": input if isinstance(input, str) else _messages("input", input), **parameters}
    if instructions is not None:
        if not isinstance(instructions, str):
            raise RequestError(f"instructions must be a string, not {type(instructions).__name__}")
        body["instructions"] = instructions
    return body


def _messages(name: str, messages: Iterable[Message]) -> list[Message]:
    """Return the messages as a list; raise `RequestError` for anything else."""
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        raise RequestError(f"{name} must be a string or a list of messages, not {type(messages).__name__}")
    messages = list(messages)
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        raise RequestError(f"{name} must be a string or a list of mappings like {{'role': …, 'content': …}}")
    return messages


def as_request(item: Any, model: str | None, answer: ResponseFormat | None = None) -> Request:
    """Return the request for an item of a map.

    Args:
        item: A `Request`; a string, which is a chat prompt; a list of messages, which is a chat, too; a
            mapping, which is the body of a chat completion or a line of OpenAI's batch format (``custom_id``,
            ``method``, ``url``, ``body``).
        model: The model if the body names none.
        answer: The format of the answer if the request has none.

    Raises:
        RequestError: The item is of another type, or the request lacks a model or contradicts itself.
    """
    request = item if isinstance(item, Request) else _to_request(item, model)
    body = request.body
    if body is None:
        return request if answer is None else attrs.evolve(request, answer=answer)
    if type(body) is dict:  # the usual type; a check against Mapping takes 2 % of a call
        named, streamed = body.get("model"), body.get("stream")
    elif isinstance(body, EncodedBody):
        named, streamed = body.fields.model, body.fields.stream
    elif isinstance(body, Mapping):
        named, streamed = body.get("model"), body.get("stream")
    else:
        raise RequestError(f"a request's body must be a mapping, not {type(body).__name__}")
    if streamed:
        raise RequestError("remove 'stream' from the body: this call returns a complete answer")
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
    return request if answer is None else _with_response_format(request, request.body or {}, answer)


def _with_response_format(request: Request, body: Mapping[str, Any], answer: ResponseFormat) -> Request:
    """Return the request with a body that requests this format."""
    if request.answer is not answer:
        request = attrs.evolve(request, answer=answer)
    if answer.is_requested_by(body):
        return request
    if "response_format" in body:
        raise RequestError("answer= sets response_format itself; leave one of them out")
    return attrs.evolve(request, body=answer.apply_to(body))


def _to_request(item: Any, model: str | None) -> Request:
    # The model is added here: a copy of the request with another body would take twice as long.
    if isinstance(item, str):
        return _chat_request([{"role": "user", "content": item}], model)
    request = getattr(item, "request", None)
    if isinstance(request, Request):
        return request
    if isinstance(item, Mapping):
        if "url" in item and "body" in item:
            return _from_batch_line(item)
        if "role" in item and "messages" not in item and "input" not in item:
            raise RequestError("a request must be a list of messages, not one message; write [message]")
        named = model is None or item.get("model") is not None
        body = item if named else {"model": model, **item} | {"model": model}
        return plain_request(RequestFields(body))
    if isinstance(item, Iterable) and not isinstance(item, (bytes, bytearray, memoryview)):
        return _chat_request(_messages("a request", item), model)
    raise RequestError(
        "a request must be a string, a list of messages, a mapping or a headrace.Request, "
        f"not {type(item).__name__}"
    )


def _chat_request(messages: list[Message], model: str | None) -> Request:
    body = {"messages": messages} if model is None else {"model": model, "messages": messages}
    return plain_request(RequestFields(body))


def _from_batch_line(line: Mapping[str, Any]) -> Request:
    url, custom_id = line["url"], line.get("custom_id")
    if not isinstance(url, str) or not isinstance(line["body"], Mapping):
        raise RequestError("a batch line needs 'url', a string, and 'body', an object")
    if custom_id is not None and not isinstance(custom_id, str):
        raise RequestError(f"custom_id {custom_id!r} must be a string")
    return Request(
        line["body"],
        path=path_of_batch_url(url),
        method=str(line.get("method", "POST")).upper(),
        id=custom_id,
    )


def max_output_tokens(body: Mapping[str, Any], assumed: int | None) -> int | None:
    """Return the maximum number of output tokens for a request body, for all its ``n`` choices together.

    Args:
        body: The body.
        assumed: The maximum for one choice if the body sets no limit; None if unknown.

    Returns:
        The maximum, None if it is unknown.
    """
    most: int | None = None
    for name in OUTPUT_LIMIT_PARAMETERS:
        limit = _count(body.get(name))
        if limit is not None and (most is None or limit > most):
            most = limit
    each = assumed if most is None else most
    return None if each is None else each * max(1, _count(body.get("n")) or 1)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def encode_body(body: Mapping[str, Any] | None) -> bytes:
    """Return the body as JSON; raise `RequestError` for a value that JSON cannot represent."""
    if body is None:
        return b""
    return body.content if isinstance(body, EncodedBody) else encode_value(body, "body")


def encode_request(request: Request) -> tuple[Request, bytes]:
    """Return a request, with values of other libraries converted to Python's types, and its body as JSON.

    Raises `RequestError` for a value that JSON cannot represent.
    """
    body = request.body
    if body is None:
        return request, b""
    if type(body) is not dict and isinstance(body, EncodedBody):
        return request, body.content
    plain, content = to_plain_and_json(body, "body")
    return (request if plain is body else attrs.evolve(request, body=plain)), content
