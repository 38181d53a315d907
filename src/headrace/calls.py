"""Requests, timeouts, calls, events and outcomes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, cast

import anyio
import attrs
import msgspec

from headrace._support.numbers import as_seconds, is_duration
from headrace.endpoint import EMPTY, Endpoint
from headrace.errors import CallError, HeadraceError, RequestError, SettingsError
from headrace.keys import is_token
from headrace.limiter_tokens import Limiter, TokenHolder, Waiting, acquire, release
from headrace.replies import Reply

if TYPE_CHECKING:  # for default=, which typing has since Python 3.13
    from typing_extensions import TypeVar

    R_co = TypeVar("R_co", bound=Reply, default=Reply, covariant=True)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)


def positive_seconds(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """An attrs validator for a duration in seconds, or None."""
    if value is not None and not is_duration(value):
        raise SettingsError(f"{attribute.name}={value!r}: must be a number of seconds above 0")


def _duration(name: str, value: Any) -> Any:
    value = as_seconds(value)
    if not is_duration(value):
        raise RequestError(f"{name}={value!r}: must be a number of seconds above 0")
    return value


@attrs.frozen
class Timeout:
    """The time limits of one attempt, in seconds. None sets no limit for a phase.

    Attributes:
        total: For the whole attempt; for a stream, until its first chunk (default 60).
        connect: For name resolution, TCP and TLS together (default 10).
        write: For sending the request (default None).
        read: For each wait for a part of the response (default None).
        stall: Between two chunks of a stream (default 60).

    Raises:
        SettingsError: A value is not a number above 0.

    Example:
        ```python
        client = headrace.Client(timeout=headrace.Timeout(120, connect=5))
        ```
    """

    total: float | None = attrs.field(default=60.0, converter=as_seconds, validator=positive_seconds)
    connect: float | None = attrs.field(
        default=10.0, converter=as_seconds, validator=positive_seconds, kw_only=True
    )
    write: float | None = attrs.field(
        default=None, converter=as_seconds, validator=positive_seconds, kw_only=True
    )
    read: float | None = attrs.field(
        default=None, converter=as_seconds, validator=positive_seconds, kw_only=True
    )
    stall: float | None = attrs.field(
        default=60.0, converter=as_seconds, validator=positive_seconds, kw_only=True
    )


@attrs.define(eq=False, repr=False)
class RequestFields:
    """The fields of a `Request`; not frozen, so that `plain_request` can set them three times as fast."""

    body: Mapping[str, Any] | None
    path: str = "/chat/completions"
    method: str = "POST"
    id: str | None = None
    timeout: Timeout | float | None = None
    deadline: float | None = None
    tags: Mapping[str, str] = EMPTY
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    answer: Any = attrs.field(default=None, repr=False)
    priority: int = 0
    fresh: bool = False


@attrs.frozen
class Request(RequestFields):
    """One call to make. Immutable; requests with equal attributes are equal.

    Requests have no hash, because the body is a mapping that may change. Use ``id`` as a key instead.

    Attributes:
        body: The JSON body as a mapping; None for no body. NumPy's numbers, strings and arrays are sent as
            JSON, a Decimal with all its digits. A value that JSON cannot represent, such as NaN, raises a
            `RequestError` with its position when the request is sent.
        path: Appended to the endpoint's base URL (default ``/chat/completions``).
        method: The HTTP method (default POST).
        id: Your name for the request; outcomes and errors show it.
        timeout: Seconds for each attempt, or a `Timeout` (default: the client's).
        deadline: Seconds for the whole call: all attempts and the waits between them (default: no limit).
        tags: For accounting and logs, which show totals per tag; not sent.
        headers: Pairs of strings, sent in addition to the endpoint's headers; a header of the same name
            replaces the endpoint's.
        answer: The type of the answer, see `Client.chat`.
        priority: Among calls that wait, those with a higher priority go first (default 0). Calls of a map
            wait with priority − 1.
        fresh: Skip the look-up in a cache; the new answer is still stored there (default False).

    Raises:
        RequestError: The path or the method is not valid in HTTP, a timeout or deadline is not a number of
            seconds above 0, or ``answer`` is used without messages.

    Example:
        ```python
        messages = [{"role": "user", "content": "Hello"}]
        request = headrace.Request({"messages": messages}, id="greeting", deadline=30)
        reply = await client.send(request)
        ```
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __attrs_post_init__(self) -> None:
        # Not converters: attrs would call them for every request, also without a timeout.
        if self.timeout is not None and not isinstance(self.timeout, Timeout):
            object.__setattr__(self, "timeout", _duration("timeout", self.timeout))
        if self.deadline is not None:
            object.__setattr__(self, "deadline", _duration("deadline", self.deadline))
        if self.path != "/chat/completions":
            if not self.path.startswith("/"):
                raise RequestError(f"path {self.path!r} must begin with '/', as in '/embeddings'")
            if not is_token(self.path):
                raise RequestError(f"path {self.path!r} must be ASCII without spaces; percent-encode it")
        if self.method != "POST" and not (self.method.isascii() and self.method.isalpha()):
            raise RequestError(f"method {self.method!r} must be an HTTP method like GET")
        if self.answer is not None and "messages" not in (self.body or ()):
            raise RequestError("answer= needs a chat: the body has no messages")

    def __reduce__(self) -> Any:
        body = self.body
        tools = None if body is None else body.get("tools")
        if body is not None and isinstance(tools, list) and type(tools) is not list:
            body = {**body, "tools": list(tools)}  # functions in Tools may not exist in another process
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Request)} | {"body": body}
        return _request, (fields,)

    @property
    def model(self) -> str | None:
        """The model in the body; None if the body names none."""
        model = None if self.body is None else self.body.get("model")
        return model if isinstance(model, str) else None


def plain_request(fields: RequestFields) -> Request:
    """A `Request` of fields that need no checks, in a third of the time."""
    request: Any = fields
    request.__class__ = Request
    made: Request = request
    return made


def _request(fields: dict[str, Any]) -> Request:
    return Request(**fields)


@attrs.frozen
class Event:
    """Something that happened to a call, reported to observers.

    Attributes:
        name: ``retry``, ``circuit``, or a name that another policy defines.
        call: The call to which it happened.
        data: Details as plain values, without secrets.
    """

    name: str
    call: Call
    data: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class StreamResult:
    """How a stream ended.

    Attributes:
        complete: Whether the stream was read to its end.
        error: The error that ended it; a cancellation counts as one. None for a stream that is complete, or
            whose block was left early.
    """

    complete: bool = False
    error: BaseException | None = None


class PartedContent(Protocol):
    """A body that is read in parts while it is sent, like a file: its length, and slices of it."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


Content: TypeAlias = bytes | PartedContent
"""The encoded body of a call. Only a direct call can have one that is read in parts."""

_CONTENT_PART = 256 * 1024


def content_parts(content: Content) -> Iterator[bytes]:
    """The body in parts of at most 256 KiB."""
    for start in range(0, len(content), _CONTENT_PART):
        yield content[start : start + _CONTENT_PART]


# Without slots: attributes that few calls need stay class attributes; see `TokenHolder`.
@attrs.define(eq=False, slots=False)
class Call(TokenHolder):
    """One request on its way through the pipeline, with its attempts and what policies note about it.

    Attributes:
        request: The request.
        endpoint: Where the next attempt goes: the first of ``endpoints``, unless a policy sets another one.
        content: The encoded body.
        timeout: The time limits of each attempt.
        started: Start of the call plus its time in the queue, in seconds on the clock of ``now()``.
        deadline: Latest end of the call on the same clock; None for no limit.
        attempts: How many attempts have begun.
        notes: Data that policies keep with the call, each policy under its own name.
        streamed: Whether the reply is returned at its first chunk; see `add_done_callback`.
        unbounded: Whether the body of a streamed call is forwarded without being stored, so its size has no
            limit.
        now: The clock, as `anyio.current_time`.
        endpoints: The endpoints that serve the model of the request.
        priority: Among calls that wait, those with a higher priority go first.
        all_endpoints: All endpoints of the client.
        queued: Seconds of waiting for tokens of the client's or the map's limiter.
        resumed: When the call last continued after `waiting`, on the clock of ``now()``; 0.0 if never.
        is_waiting: Whether the call is in a `waiting` block, or reacquires its tokens at the end of one.
        on_resume: Functions that are called with this call when it continues after a `waiting` block. The
            block raises their errors, so the attempt is not made. Remove your function after ``send``
            returns.
        queue_timeout: Maximum seconds to wait for a token; None for no limit.
    """

    request: Request
    endpoint: Endpoint
    content: bytes = attrs.field(repr=False)
    timeout: Timeout
    started: float
    deadline: float | None = None
    attempts: int = 0
    notes: dict[str, Any] = attrs.field(factory=dict)
    _notify: Callable[[Event], None] | None = attrs.field(default=None, repr=False)
    streamed: bool = False
    unbounded: bool = False
    now: Callable[[], float] = attrs.field(default=anyio.current_time, repr=False)
    endpoints: tuple[Endpoint, ...] = attrs.field(default=(), repr=False)
    priority: int = 0
    all_endpoints: tuple[Endpoint, ...] = attrs.field(default=(), repr=False)
    _done_callbacks: list[Callable[[StreamResult], None]] | None = attrs.field(
        default=None, init=False, repr=False
    )

    def notify(self, name: str, **data: Any) -> None:
        """Report an event to the client's observers.

        Args:
            name: The name of the event.
            **data: Details as plain values, without secrets.
        """
        if self._notify is not None:
            self._notify(Event(name, self, data))

    def another(self, **changes: Any) -> Call:
        """A second call for the same request and map, with its own tokens; for hedging.

        Args:
            **changes: Attributes that differ.
        """
        other = attrs.evolve(self, **changes)
        other._map_limiter = self._map_limiter
        return other

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """A block in which a policy waits for anything but the reply: a delay, a slot, another call.

        Inside the block the call holds no tokens, and its map may make another call. At the end of the block
        the call reacquires its tokens, by priority. This can take long, so check your condition again after
        the block. Put time limits for the wait inside the block.

        Example:
            ```python
            async with call.waiting():
                await anyio.sleep(delay)
            ```
        """
        return Waiting(self)

    async def acquire(self, limiter: Limiter) -> None:
        """Borrow a token of a policy's own limiter for this call; if none is free, wait as in `waiting`.

        Until `release`, each `waiting` block returns this token too.
        """
        await acquire(self, limiter)

    def release(self, limiter: Limiter) -> None:
        """Return the token that `acquire` borrowed; does nothing if the call does not hold it."""
        release(self, limiter)

    def add_done_callback(self, callback: Callable[[StreamResult], None]) -> None:
        """Call ``callback`` once, when the stream has ended; callbacks of inner policies come first."""
        if self._done_callbacks is None:
            self._done_callbacks = []
        self._done_callbacks.append(callback)

    def at_end(self, callback: Callable[[StreamResult], None]) -> None:
        """Deprecated name of `add_done_callback`; removed in 0.3."""
        warnings.warn("use Call.add_done_callback, not Call.at_end", DeprecationWarning, stacklevel=2)
        self.add_done_callback(callback)

    def end(self, result: StreamResult) -> None:
        """Mark the stream as ended and call all callbacks, even if one raises an error.

        Raises:
            Exception: The first error of a callback, if the stream ended without an error.
        """
        callbacks, self._done_callbacks = self._done_callbacks, None
        failures = []
        for callback in callbacks or ():
            try:
                callback(result)
            except Exception as error:
                failures.append(error)
        if failures and result.error is None:
            raise failures[0]


# A Struct, because each call makes one: attrs.frozen takes 2 µs more.
class Outcome(msgspec.Struct, Generic[R_co], frozen=True, eq=False):
    """The result of one item of a map or bulk run: a reply or an error.

    Attributes:
        index: The position of the item in the input, from 0.
        request: The request made for the item; None if none could be made.
        reply: The reply; None if there is an error.
        error: The error; None if there is a reply.
        attempts: The number of attempts.
        elapsed: Seconds for all attempts and the waits between them.
        item: The item of the input.
    """

    index: int
    request: Request | None
    reply: R_co | None
    error: HeadraceError | None
    attempts: int = 0
    elapsed: float = 0.0
    item: Any = None

    def __repr__(self) -> str:
        result = f"reply={self.reply!r}" if self.error is None else f"error={self.error!r}"
        return f"Outcome(index={self.index}, {result}, attempts={self.attempts}, elapsed={self.elapsed:.3f})"

    @property
    def id(self) -> str | None:
        """The id of the request; None without one."""
        return self.request.id if self.request else None

    @property
    def ok(self) -> bool:
        """Whether there is a reply."""
        return self.reply is not None

    def unwrap(self) -> R_co:
        """The reply.

        Raises:
            HeadraceError: The error, if there is no reply.
        """
        if self.reply is None:
            raise cast("CallError", self.error)
        return self.reply
