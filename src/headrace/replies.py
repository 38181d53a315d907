"""What a successful call returns: reply, headers, usage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, AnyStr, Generic, Protocol, TypeVar, overload

import attrs
import msgspec
from msgspec.structs import astuple

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace._support.message_content import first_choice, text_and_reasoning, tool_calls_in
from headrace._support.text import shown
from headrace.errors import InvalidReply

if TYPE_CHECKING:
    from headrace.endpoint import Endpoint

T = TypeVar("T")


class Headers(Mapping[str, str]):
    """Response headers: a read-only mapping whose keys ignore case.

    Values of a header that occurs several times are joined with ", " (RFC 9110, section 5.3).

    Args:
        raw: Pairs of name and value as received; also an attribute.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw: list[tuple[bytes, bytes]] = raw

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: T | None = None, /) -> str | T | None:
        """The value of a header, or ``default``."""
        # Mapping.get would raise and catch an error for each missing header.
        values = self._values(name)
        return b", ".join(values).decode("latin-1") if values else default

    def __getitem__(self, name: str) -> str:
        values = self._values(name)
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def _values(self, name: str) -> list[bytes]:
        wanted = _in_lower_case(name)
        length = len(wanted)  # compared first, because most lengths differ
        return [value for key, value in self.raw if len(key) == length and key.lower() == wanted]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1").lower() for key, _ in self.raw))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.raw})

    def redacted(self, redact: Callable[[bytes], bytes]) -> Headers:
        """A copy with each value replaced by ``redact(value)``."""
        return Headers([(name, redact(value)) for name, value in self.raw])

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"


@functools.lru_cache(maxsize=256)
def _in_lower_case(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


# A Struct, because each call makes one: attrs.frozen takes 0.7 µs more for so many fields.
class Usage(msgspec.Struct, frozen=True):
    """Token counts of one reply, as the endpoint reports them; None for a count that it does not report.

    Adding two usages adds their counts; where one is None, the sum is the other.

    Attributes:
        prompt_tokens: The whole input, including cached tokens.
        completion_tokens: The whole output, including reasoning.
        total_tokens: Input and output.
        cached_tokens: Part of the prompt that was read from the endpoint's cache.
        cache_write_tokens: Part of the prompt that was written to its cache for 5 minutes or an unknown time.
        cache_write_1h_tokens: Part of the prompt that was written to its cache for one hour.
        reasoning_tokens: Part of the completion.
        prompt_audio_tokens: Part of the prompt.
        completion_audio_tokens: Part of the completion.
        prompt_image_tokens: Part of the prompt.
        completion_image_tokens: Part of the completion.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt_audio_tokens: int | None = None
    completion_audio_tokens: int | None = None
    prompt_image_tokens: int | None = None
    completion_image_tokens: int | None = None

    def __repr__(self) -> str:
        known = {name: count for name in self.__struct_fields__ if (count := getattr(self, name)) is not None}
        return f"Usage({', '.join(f'{name}={count}' for name, count in known.items())})"

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(_sum, astuple(self), astuple(other)))


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


class Body(Protocol):
    """A response body that is still being received; a transport returns it for a ``streamed`` call."""

    async def receive(self, until: float) -> bytes:
        """The next bytes; empty at the end.

        Args:
            until: The time limit, on the clock of `anyio.current_time`.

        Raises:
            CallTimeout: The time is over.
            CallError: The connection failed.
        """

    async def aclose(self) -> None:
        """Release the body; closes its connection unless the body was read to its end."""


@attrs.define(eq=False)
class Reply:
    """The result of a successful call.

    Attributes:
        status: The HTTP status.
        headers: The response headers.
        content: The body, decompressed.
        usage: Token counts; None if the endpoint gives none.
        model: The model that the endpoint names in its response.
        cost: USD; None if unknown. Set by the cost policy.
        attempts: The number of attempts.
        elapsed: Seconds from the first acquired limiter token to the last byte, including waits.
        stream: The body of a streamed call, from the transport, instead of ``content``.
        time_to_first_token: Seconds until the first chunk; None if the reply was not streamed.
        possible_cost: Maximum cost in USD of attempts whose cost is unknown, in addition to ``cost``; None
            without such attempts.
        service_tier: The service tier that the endpoint names in its response.
        queued: Seconds of waiting for tokens of the limiter; not part of ``elapsed``.
        http_version: "HTTP/1.1" or "HTTP/2".
    """

    status: int
    headers: Headers = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)
    usage: Usage | None = None
    model: str | None = None
    cost: Decimal | None = None
    attempts: int = 1
    elapsed: float = 0.0
    stream: Body | None = attrs.field(default=None, repr=False)
    time_to_first_token: float | None = None
    possible_cost: Decimal | None = None
    service_tier: str | None = None
    queued: float = 0.0
    http_version: str = "HTTP/1.1"
    _body: Any = attrs.field(default=None, init=False, repr=False)
    _reader: Any = attrs.field(default=None, init=False, repr=False)
    _endpoint: Endpoint | None = attrs.field(default=None, kw_only=True, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """The state for another process: no open stream, and the key removed from the endpoint's text."""
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        state |= {
            "content": self.without_key(self.content),
            "headers": self.headers.redacted(self.without_key),
            "model": self.model and self.without_key(self.model),
        }
        return state | dict.fromkeys(("stream", "_body", "_reader", "_endpoint"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def without_key(self, text: AnyStr) -> AnyStr:
        """Text from the endpoint with the key replaced; see `Endpoint.without_key`."""
        return text if self._endpoint is None else self._endpoint.without_key(text)

    def _shown(self) -> str:
        return shown(self.without_key(self.content))

    @property
    def body(self) -> Any:
        """The body decoded from JSON (once).

        Raises:
            InvalidReply: The body is not JSON.
        """
        if self._body is None:
            try:
                self._body = decode_json(self.content)
            except NOT_JSON:
                pass
            else:
                return self._body
            # Raised outside the handler: the decoder's error contains the body, and so perhaps the key.
            raise InvalidReply(f"{self._shown()} (the body is not JSON)", is_json=False)
        return self._body

    @property
    def text(self) -> str:
        """The text of a response, or of the first choice of a chat or plain completion, without reasoning.

        It is "" if the model called tools or was stopped before any text.

        Raises:
            InvalidReply: The body contains no answer.
        """
        return self._text_and_reasoning()[0]

    @property
    def reasoning(self) -> str:
        """The reasoning of the same answer; "" if the endpoint shows none.

        It is read from ``reasoning_content``, ``reasoning``, parts of the content, or a ``<think>`` block.

        Raises:
            InvalidReply: The body contains no answer.
        """
        return self._text_and_reasoning()[1]

    def _text_and_reasoning(self) -> tuple[str, str]:
        parts = text_and_reasoning(self.body)
        if parts is None:
            raise InvalidReply(f"{self._shown()} (the body contains no answer)")
        return parts

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended: ``stop``, ``length``, ``tool_calls``, …; None if not given."""
        reason = (first_choice(self.body) or {}).get("finish_reason")
        return reason if isinstance(reason, str) else None

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls of the first choice, in the form of the API; empty if there are none."""
        message = (first_choice(self.body) or {}).get("message")
        return tool_calls_in(message.get("tool_calls")) if isinstance(message, Mapping) else []

    @property
    def message(self) -> dict[str, Any]:
        """The message of the first choice, to append to the messages of the next request.

        Raises:
            InvalidReply: The body contains no message.
        """
        message = (first_choice(self.body) or {}).get("message")
        if not isinstance(message, dict):
            message = None  # some tools show the variables of a traceback
            raise InvalidReply(f"{self._shown()} (the body contains no message)")
        calls = self.tool_calls  # each with an id that its result can refer to
        return {**message, "tool_calls": calls} if calls else message

    @property
    def request_id(self) -> str | None:
        """The endpoint's id for the request (the header ``x-request-id``)."""
        return self.headers.get("x-request-id")


@attrs.define(eq=False, getstate_setstate=False)
class ParsedReply(Reply, Generic[T]):
    """A reply with its text parsed as the type that was passed as ``answer=``.

    Attributes:
        answer: An instance of that type.
    """

    answer: T = attrs.field(kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if state["content"] is not self.content:
            state["answer"] = _redact_strings(self.answer, self.without_key)
        return state


def _redact_strings(value: Any, redact: Callable[[str], str]) -> Any:
    """A JSON value with ``redact`` applied to all strings; an object of another type stays unchanged."""
    if type(value) is str:
        return redact(value)
    if type(value) is dict:
        return {redact(name): _redact_strings(each, redact) for name, each in value.items()}
    return [_redact_strings(each, redact) for each in value] if type(value) is list else value
