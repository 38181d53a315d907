"""The keywords of the client's methods: headrace's own, and the API's parameters with their types.

This module is the only place that declares them: type checkers read them from the signatures (``Unpack``),
and at run time they are compared with the keywords of a call. Parameters of a single vendor go into
``extra_body``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import (
    Any,
    SupportsFloat,
    SupportsIndex,
    TypeAlias,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

from headrace._support.text import nearest
from headrace.calls import Timeout
from headrace.endpoint import FRAMING, unsendable
from headrace.errors import RequestError

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object of the API."""

Number: TypeAlias = float | SupportsFloat
Count: TypeAlias = int | SupportsIndex
"""An integer of Python or of another library, such as NumPy."""


class CallOptions(TypedDict, total=False):
    """The options of every call; see `headrace.Request`.

    Attributes:
        id: The call's id, for logs and outcomes.
        timeout: Seconds per attempt.
        deadline: Seconds for the whole call.
        tags: Labels for policies and observers.
        headers: Headers that are added to those of the endpoint, or replace them.
        priority: Calls with a higher priority go first.
    """

    id: str | None
    timeout: float | Timeout | None
    deadline: float | None
    tags: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    priority: int


class ModelOptions(CallOptions, total=False):
    """The options of calls of a model.

    Attributes:
        model: The model; None for the client's.
        extra_body: Parameters of your endpoint that the API does not have.
    """

    model: str | None
    extra_body: JsonObject | None


class SamplingParameters(TypedDict, total=False):
    """The parameters that chats and responses share."""

    metadata: Mapping[str, str] | None
    parallel_tool_calls: bool | None
    prompt_cache_key: str | None
    safety_identifier: str | None
    service_tier: str | None
    store: bool | None
    temperature: Number | None
    tool_choice: str | JsonObject | None
    tools: Iterable[JsonObject] | None
    top_logprobs: Count | None
    top_p: Number | None
    user: str | None


class ChatParameters(SamplingParameters, total=False):
    """The parameters of ``POST /chat/completions``, as in OpenAI's reference."""

    audio: JsonObject | None
    frequency_penalty: Number | None
    function_call: str | JsonObject | None
    functions: Iterable[JsonObject] | None
    logit_bias: Mapping[str, Number] | None
    logprobs: bool | None
    max_completion_tokens: Count | None
    max_tokens: Count | None
    modalities: Sequence[str] | None
    n: Count | None
    prediction: JsonObject | None
    presence_penalty: Number | None
    reasoning_effort: str | None
    response_format: JsonObject | None
    seed: Count | None
    stop: str | Sequence[str] | None
    verbosity: str | None
    web_search_options: JsonObject | None


class ChatOptions(ModelOptions, ChatParameters, total=False):
    """The keywords of `headrace.Client.chat`, without ``answer``."""


class ResponseParameters(SamplingParameters, total=False):
    """The parameters of ``POST /responses``, without those for streams."""

    background: bool | None
    context_management: Iterable[JsonObject] | None
    conversation: str | JsonObject | None
    include: Sequence[str] | None
    max_output_tokens: Count | None
    max_tool_calls: Count | None
    moderation: JsonObject | None
    previous_response_id: str | None
    prompt: JsonObject | None
    prompt_cache_retention: str | None
    reasoning: JsonObject | None
    text: JsonObject | None
    truncation: str | None


class ResponseOptions(ModelOptions, ResponseParameters, total=False):
    """The keywords of `headrace.Client.responses`."""


CHAT_PARAMETERS = ChatParameters.__optional_keys__
RESPONSE_PARAMETERS = ResponseParameters.__optional_keys__
OWN_KEYWORDS = ModelOptions.__optional_keys__
_CALL_KEYWORDS = CallOptions.__optional_keys__

_JSON_TYPES: Mapping[Any, str] = {
    bool: "boolean",
    float: "number",
    SupportsFloat: "number",
    SupportsIndex: "integer",
    int: "integer",
    str: "string",
    Iterable: "array",
    Sequence: "array",
    Mapping: "object",
}


@functools.cache
def json_types(parameter: str) -> frozenset[str]:
    """Return the JSON types that a parameter of chats can have, as declared above."""
    declared = get_args(get_type_hints(ChatParameters)[parameter])
    return frozenset(_JSON_TYPES[get_origin(each) or each] for each in declared if each is not type(None))


def pop_call_options(options: dict[str, Any]) -> dict[str, Any]:
    """Remove headrace's own keywords from ``options`` and return them; the API's parameters remain."""
    own = {}
    for name in tuple(options):
        if name in OWN_KEYWORDS:
            own[name] = options.pop(name)
    return own


def check_parameters(
    method: str, parameters: Iterable[str], known: frozenset[str], also: Iterable[str] = ()
) -> None:
    """Raise `RequestError` for a parameter that the API does not have; ``also`` are suggested as well."""
    for name in parameters:
        if name not in known:
            raise RequestError(
                f"{method}() has no parameter {name!r}; {nearest(name, {*known, *also})}; "
                "or pass a parameter of your endpoint in extra_body={…}"
            )


def check_keywords(method: str, options: Iterable[str], known: frozenset[str] = _CALL_KEYWORDS) -> None:
    """Raise `RequestError` for an unknown keyword of a call without parameters of the API."""
    for name in options:
        if name not in known:
            raise RequestError(f"{method}() has no keyword {name!r}; {nearest(name, known)}")


def header_pairs(headers: Any) -> tuple[tuple[str, str], ...]:
    """Return a call's headers in a request's form; raise `RequestError` for invalid ones."""
    if not isinstance(headers, Mapping):
        raise RequestError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise RequestError(f"header {name!r} must be a string, and so must its value")
    wrong = unsendable(headers, FRAMING)
    if wrong:
        raise RequestError(wrong)
    return tuple(headers.items())
