"""What came back of a call: headers, usage, reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, AnyStr, Generic, Protocol, TypeVar, overload

import attrs
import msgspec
from msgspec.structs import astuple

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace._support.message_content import content_of, output_text, split_thoughts, tool_calls_in
from headrace._support.text import shown
from headrace.errors import InvalidReply

if TYPE_CHECKING:
    from headrace.endpoint import Endpoint

T = TypeVar("T")


class Headers(Mapping[str, str]):
    """The headers of an answer: a read-only mapping whose keys ignore case.

    A header sent several times is joined with ", " (RFC 9110, section 5.3).
    """

    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw: list[tuple[bytes, bytes]] = raw

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: T | None = None, /) -> str | T | None:
        # Mapping's would raise and catch for each header that is not there.
        values = self._values(name)
        return b", ".join(values).decode("latin-1") if values else default

    def __getitem__(self, name: str) -> str:
        values = self._values(name)
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def _values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode("latin-1", "replace")
        length = len(wanted)  # compared first: it tells most of them apart
        return [value for key, value in self.raw if len(key) == length and key.lower() == wanted]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1").lower() for key, _ in self.raw))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.raw})

    def less(self, redact: Callable[[bytes], bytes]) -> Headers:
        """These headers, with what ``redact`` makes of each value."""
        return Headers([(name, redact(value)) for name, value in self.raw])

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"


# A Struct, for it is made for each call: with so many fields, attrs.frozen takes 0.7 µs more.
class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer as the endpoint counted them; a count is None where it said nothing.

    Attributes:
        prompt_tokens: All of the input, cached tokens included.
        completion_tokens: All of the output, reasoning included.
        total_tokens: Both together.
        cached_tokens: Part of the prompt, read from the endpoint's cache.
        cache_write_tokens: Part of the prompt, written to its cache for 5 minutes, or for a time not said.
        cache_write_1h_tokens: Part of the prompt, written to its cache for an hour.
        reasoning_tokens: Part of the completion.
        prompt_audio_tokens: Part of the prompt.
        completion_audio_tokens: Part of the completion.
        prompt_image_tokens: Part of the prompt.
        completion_image_tokens: Part of the completion.

    A sum of two counts what is known of either.
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
    """The body of an answer, as it comes; what a transport gives a call that is ``streamed``."""

    async def receive(self, until: float) -> bytes:
        """The next bytes, empty at the end; raises `CallError`, of these `CallTimeout` at ``until``."""

    async def aclose(self) -> None:
        """Be done with it: an answer that is not over takes its connection with it."""


@attrs.define(eq=False)
class Reply:
    """What came back of a call that succeeded.

    Attributes:
        status: The HTTP status.
        headers: The headers.
        content: The body as received, decompressed.
        usage: Token counts; None where the endpoint said none.
        model: The model that the endpoint says it used.
        cost: USD; None where it is not known. The cost policy fills it in.
        attempts: How many trips over the wire the call made.
        elapsed: Seconds from the call's first token of the limiter to the last byte, waits included.
        stream: What a transport gives a streamed call in place of ``content``.
        time_to_first_token: Seconds until the first piece; None where the answer was not streamed.
        possible_cost: What attempts of the call whose cost is not known may have cost at most, in USD, beside
            ``cost``; None where there are none.
        service_tier: The service tier that the endpoint says it used.
        queued: Seconds that the call waited for tokens of the limiter; not part of ``elapsed``.
        http_version: What was spoken: "HTTP/1.1" or "HTTP/2".
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
        """What another process gets: no open stream, and no key in what the endpoint said."""
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        state |= {"content": self.without_key(self.content), "headers": self.headers.less(self.without_key)}
        state |= {"model": self.model and self.without_key(self.model)}
        return state | dict.fromkeys(("stream", "_body", "_reader", "_endpoint"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def without_key(self, said: AnyStr) -> AnyStr:
        """What the endpoint said, less the key that it was sent, as `Endpoint.without_key` has it."""
        return said if self._endpoint is None else self._endpoint.without_key(said)

    def _shown(self) -> str:
        return shown(self.without_key(self.content))

    @property
    def body(self) -> Any:
        """The body decoded from JSON, once; raises `InvalidReply` where it is not JSON."""
        if self._body is None:
            try:
                self._body = decode_json(self.content)
            except NOT_JSON:
                pass
            else:
                return self._body
            # Not in the handler: with the decoder's error goes all that the endpoint said, and the key in it.
            raise InvalidReply(f"{self._shown()} (the body is not JSON)", is_json=False)
        return self._body

    @property
    def text(self) -> str:
        """The text of a response, or of the first choice of a chat or plain completion.

        It is "" where the model called tools, or was stopped, and said nothing. Reasoning is not part of it.

        Raises:
            InvalidReply: The body holds no answer.
        """
        return self._said()[0]

    @property
    def reasoning(self) -> str:
        """The reasoning that the endpoint shows for the same answer, "" for none.

        It comes as ``reasoning_content``, ``reasoning``, in parts of the content, or in a ``<think>`` block.

        Raises:
            InvalidReply: The body holds no answer.
        """
        return self._said()[1]

    def _said(self) -> tuple[str, str]:
        said = _text_and_reasoning(self.body)
        if said is None:
            raise InvalidReply(f"{self._shown()} (the body holds no answer)")
        return said

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended (``stop``, ``length``, ``tool_calls``, …), None where it is not said."""
        reason = (first_choice(self.body) or {}).get("finish_reason")
        return reason if isinstance(reason, str) else None

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls of the first choice, as the API has them; empty where there are none."""
        message = (first_choice(self.body) or {}).get("message")
        return tool_calls_in(message.get("tool_calls")) if isinstance(message, Mapping) else []

    @property
    def message(self) -> dict[str, Any]:
        """The message of the first choice as it came, to be sent along where a conversation goes on.

        Raises `InvalidReply` for a body that has none.
        """
        message = (first_choice(self.body) or {}).get("message")
        if not isinstance(message, dict):
            message = None  # there are tools that show a traceback's variables
            raise InvalidReply(f"{self._shown()} (the body holds no message)")
        calls = self.tool_calls  # each with the id that its result names
        return {**message, "tool_calls": calls} if calls else message

    @property
    def request_id(self) -> str | None:
        """The endpoint's own name for the call (``x-request-id``)."""
        return self.headers.get("x-request-id")


@attrs.define(eq=False, getstate_setstate=False)
class ParsedReply(Reply, Generic[T]):
    """A reply whose text was asked for as a type, and is one: ``answer``."""

    answer: T = attrs.field(kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if state["content"] is not self.content:
            state["answer"] = _each_text(self.answer, self.without_key)
        return state


def _each_text(value: Any, redact: Callable[[str], str]) -> Any:
    """JSON's value, with what ``redact`` makes of its texts; an object of the caller's own stays as it is."""
    if type(value) is str:
        return redact(value)
    if type(value) is dict:
        return {redact(name): _each_text(each, redact) for name, each in value.items()}
    return [_each_text(each, redact) for each in value] if type(value) is list else value


def _text_and_reasoning(body: Any) -> tuple[str, str] | None:
    choice = first_choice(body)
    if choice is not None:
        message = choice.get("message")
        if isinstance(message, Mapping):
            return content_of(message)
        return split_thoughts(choice["text"])[::-1]
    if isinstance(body, Mapping) and isinstance(body.get("output"), list):
        return output_text(body["output"])
    return None


def first_choice(body: Any) -> Mapping[str, Any] | None:
    """The first choice of a decoded body that has a message or a text, None where there is none."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and (
            isinstance(choice.get("message"), Mapping) or isinstance(choice.get("text"), str)
        ):
            return choice
    return None
