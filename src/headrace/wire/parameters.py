"""The keywords of single calls: headrace's own, the same for all, and the API's parameters with their types.

They are declared here and nowhere else: type checkers read them from the signatures (``Unpack``), and what a
call does not know is told by them at run time. What only some endpoints know goes into ``extra_body``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias, TypedDict

from headrace._support.text import nearest
from headrace.calls import Timeout
from headrace.endpoint import FRAMING, unsendable
from headrace.errors import RequestError

Object: TypeAlias = Mapping[str, Any]
"""An object of the API's, as JSON has it."""


Number: TypeAlias = float | SupportsFloat
Count: TypeAlias = int | SupportsIndex
"""Of Python or of another library, as NumPy's."""


class CallOptions(TypedDict, total=False):
    """What each single call may be told; see `headrace.Request`.

    ``timeout`` is in seconds per attempt, ``deadline`` in seconds for all of the call. ``headers`` are sent
    besides the endpoint's, or in place of those of the same name.
    """

    id: str | None
    timeout: float | Timeout | None
    deadline: float | None
    tags: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    priority: int


class ModelOptions(CallOptions, total=False):
    """The same for calls of a model: which one (None: the client's), and what only your endpoint knows."""

    model: str | None
    extra_body: Object | None


class SamplingParameters(TypedDict, total=False):
    """Parameters that chats and responses have in common."""

    metadata: Mapping[str, str] | None
    parallel_tool_calls: bool | None
    prompt_cache_key: str | None
    safety_identifier: str | None
    service_tier: str | None
    store: bool | None
    temperature: Number | None
    tool_choice: str | Object | None
    tools: Iterable[Object] | None
    top_logprobs: Count | None
    top_p: Number | None
    user: str | None


class ChatParameters(SamplingParameters, total=False):
    """Of ``POST /chat/completions``, as OpenAI's reference has them."""

    audio: Object | None
    frequency_penalty: Number | None
    function_call: str | Object | None
    functions: Iterable[Object] | None
    logit_bias: Mapping[str, Number] | None
    logprobs: bool | None
    max_completion_tokens: Count | None
    max_tokens: Count | None
    modalities: Sequence[str] | None
    n: Count | None
    prediction: Object | None
    presence_penalty: Number | None
    reasoning_effort: str | None
    response_format: Object | None
    seed: Count | None
    stop: str | Sequence[str] | None
    verbosity: str | None
    web_search_options: Object | None


class ChatOptions(ModelOptions, ChatParameters, total=False):
    """The keywords of `headrace.Client.chat`, but for ``answer``."""


class ResponseParameters(SamplingParameters, total=False):
    """Of ``POST /responses``, less what is of streams."""

    background: bool | None
    context_management: Iterable[Object] | None
    conversation: str | Object | None
    include: Sequence[str] | None
    max_output_tokens: Count | None
    max_tool_calls: Count | None
    moderation: Object | None
    previous_response_id: str | None
    prompt: Object | None
    prompt_cache_retention: str | None
    reasoning: Object | None
    text: Object | None
    truncation: str | None


class ResponseOptions(ModelOptions, ResponseParameters, total=False):
    """The keywords of `headrace.Client.responses`."""


CHAT_PARAMETERS = ChatParameters.__optional_keys__
RESPONSE_PARAMETERS = ResponseParameters.__optional_keys__
OWN_KEYWORDS = ModelOptions.__optional_keys__
_CALL_KEYWORDS = CallOptions.__optional_keys__


def pop_call_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take headrace's own keywords out of a call's, which leaves the API's parameters."""
    own = {}
    for name in tuple(options):
        if name in OWN_KEYWORDS:
            own[name] = options.pop(name)
    return own


def check_parameters(
    method: str, parameters: Iterable[str], known: frozenset[str], also: Iterable[str] = ()
) -> None:
    """Raise `RequestError` for a parameter that the API has not; ``also`` are keywords that may be meant."""
    for name in parameters:
        if name not in known:
            raise RequestError(
                f"{method}() has no parameter {name!r}; {nearest(name, {*known, *also})} "
                "What only your endpoint knows goes into extra_body={…}"
            )


def check_keywords(method: str, options: Iterable[str], known: frozenset[str] = _CALL_KEYWORDS) -> None:
    """Raise `RequestError` for a keyword of a call that takes no parameters of the API."""
    for name in options:
        if name not in known:
            raise RequestError(f"{method}() has no keyword {name!r}; {nearest(name, known)}")


def header_pairs(headers: Any) -> tuple[tuple[str, str], ...]:
    """A call's own headers as a request has them; raises `RequestError` for what HTTP cannot carry."""
    if not isinstance(headers, Mapping):
        raise RequestError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise RequestError(f"header {name!r} must be a string, and so must its value")
    wrong = unsendable(headers, FRAMING)
    if wrong:
        raise RequestError(wrong)
    return tuple(headers.items())
