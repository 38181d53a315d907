"""The nouns: request, call, outcome, event; stage, policy and observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

import anyio
import attrs
import msgspec

from headrace._support.numbers import as_number
from headrace.endpoint import EMPTY, Endpoint
from headrace.errors import CallError, HeadraceError, RequestError, SettingsError
from headrace.keys import is_token
from headrace.replies import Reply
from headrace.tokens import Limiter, TokenHolder, Waiting, acquire, release

if TYPE_CHECKING:  # for their default, which typing has from Python 3.13 on
    from typing_extensions import TypeVar

    R_co = TypeVar("R_co", bound=Reply, default=Reply, covariant=True)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)


def positive_seconds(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Validates a setting that is a duration or None."""
    if value is not None and not _is_duration(value):
        raise SettingsError(f"{attribute.name}={value!r}: must be a number of seconds above 0")


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _seconds(value: Any) -> Any:
    """A number of another library's as one of Python's, anything else as it is."""
    if value is None or type(value) is float or type(value) is int:
        return value
    number = as_number(value)
    try:
        return value if number is None else float(number)
    except (ValueError, OverflowError):  # a signaling NaN, more than any float
        return value


def _duration(name: str, value: Any) -> Any:
    value = _seconds(value)
    if not _is_duration(value):
        raise RequestError(f"{name}={value!r}: must be a number of seconds above 0")
    return value


@attrs.frozen
class Timeout:
    """How long one attempt may take, in seconds; None leaves a phase to ``total``.

    ``connect``: name resolution, TCP and TLS. ``write``: handing over the request. ``read``: the wait
    for each piece of the answer. ``total``: all of it; of a stream, all until its first piece. ``stall``:
    from one piece of a stream to the next.
    """

    total: float | None = attrs.field(default=60.0, converter=_seconds, validator=positive_seconds)
    connect: float | None = attrs.field(
        default=10.0, converter=_seconds, validator=positive_seconds, kw_only=True
    )
    write: float | None = attrs.field(
        default=None, converter=_seconds, validator=positive_seconds, kw_only=True
    )
    read: float | None = attrs.field(
        default=None, converter=_seconds, validator=positive_seconds, kw_only=True
    )
    stall: float | None = attrs.field(
        default=60.0, converter=_seconds, validator=positive_seconds, kw_only=True
    )


@attrs.define(eq=False, repr=False)
class RequestFields:
    """The fields of a `Request`, which a frozen class sets three times as slowly; see `plain_request`."""

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
    """One call to be made.

    ``body`` is the JSON body, a mapping (None: no body); ``path`` is appended to the endpoint's base URL.
    Numbers, strings and arrays of NumPy's kind are sent as JSON's, a Decimal with all its digits; NaN and
    what JSON cannot say is a `RequestError` that names its place. ``id`` is the caller's own name for it,
    carried into outcomes and errors.
    ``timeout`` (seconds or `Timeout`) is per attempt and overrides the client's; ``deadline`` is in
    seconds from the call's start and spans all attempts and the waits between them. ``tags`` are for
    accounting and logs (totals per tag); they are not sent. ``headers``, pairs of texts, are sent besides the
    endpoint's, or in place of those of the same name. Where calls wait, those of higher ``priority`` go
    first; those of a map wait as if theirs were one lower. ``answer`` is the type that the answer is to have;
    see `Client.chat`. ``fresh``: no answer from a cache; the new one takes the place of the one it has kept.

    Requests are equal where all of that is. They have no hash, because the body is a mapping that may change:
    to keep something by request, give each an ``id``.

    Raises `RequestError` for a path or method that no HTTP request may carry, for a timeout or deadline that
    is no duration, and for an ``answer`` that is no such type, or of anything but a chat.
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __attrs_post_init__(self) -> None:
        # No converters: they would be called for all the requests that have neither.
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
            raise RequestError(f"method {self.method!r} is not an HTTP method")
        if self.answer is not None and "messages" not in (self.body or ()):
            raise RequestError("answer= is for chats: the body has no messages")

    def __reduce__(self) -> Any:
        body = self.body
        tools = None if body is None else body.get("tools")
        if body is not None and isinstance(tools, list) and type(tools) is not list:
            body = {**body, "tools": list(tools)}  # the functions of Tools may be known to this process only
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Request)} | {"body": body}
        return _request, (fields,)

    @property
    def model(self) -> str | None:
        """The model named in the body, None where there is none."""
        model = None if self.body is None else self.body.get("model")
        return model if isinstance(model, str) else None


def plain_request(body: Mapping[str, Any]) -> Request:
    """``Request(body)``, in a third of the time: there is nothing to check in its other fields."""
    request: Any = RequestFields(body)
    request.__class__ = Request
    made: Request = request
    return made


def _request(fields: dict[str, Any]) -> Request:
    return Request(**fields)


@attrs.frozen
class Event:
    """Something that happened to a call, told to observers.

    ``name`` is ``retry``, ``circuit`` or another policy's own word, ``data`` says the particulars
    (plain values, no secrets), ``call`` is the call during which it happened.
    """

    name: str
    call: Call
    data: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class StreamResult:
    """How a stream ended: ``complete``; with an ``error`` (a cancellation is one); or neither: left early."""

    complete: bool = False
    error: BaseException | None = None


# Without slots, so that what few calls need takes no time where it has its default: see `TokenHolder`.
@attrs.define(eq=False, slots=False)
class Call(TokenHolder):
    """The life of one request on its way through the pipeline.

    Attributes:
        request: What is asked.
        endpoint: Where the next attempt goes: the first of ``endpoints``, unless a policy sets another one.
        content: The encoded body.
        timeout: The limits of each attempt.
        started: When the call began, on the clock that ``now()`` asks; later by the time it has queued.
        deadline: When the call fails at the latest, on the same clock; None for never.
        attempts: How many trips over the wire have begun.
        notes: What policies keep with the call, each under its own name.
        streamed: The reply comes with its first chunk; `add_done_callback` is for what is to be done at its
            end.
        unbounded: The body of a streamed call is handed on and not kept, so it may have any size.
        now: `anyio.current_time`, asked directly.
        endpoints: Those that serve the request's model.
        priority: Where calls wait, those of a higher priority go first.
        all_endpoints: The client's.

    How long it has waited is told by the attributes of `TokenHolder`.
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
        """Tell the client's observers; costs nothing where there are none."""
        if self._notify is not None:
            self._notify(Event(name, self, data))

    def another(self, **changes: Any) -> Call:
        """One more request on behalf of this call, as a hedge sends: with tokens of its own, of the same map.

        ``changes`` are attributes that are to differ.
        """
        other = attrs.evolve(self, **changes)
        other._map_limiter = self._map_limiter
        return other

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """A block in which a policy waits for anything but the answer: a delay, its turn, another call.

        For that time the call gives back every token that it holds, and its map may make another call. It
        takes the tokens again, by its priority, before the block is left; so much time may have passed by
        then that the policy has to decide anew. Limits on the time to wait belong inside the block.

        Example:
            ```python
            async with call.waiting():
                await anyio.sleep(delay)
            ```
        """
        return Waiting(self)

    async def acquire(self, limiter: Limiter) -> None:
        """Borrow a token of a policy's own limiter on behalf of this call, in `waiting` if need be.

        `waiting` gives this token back as well, until `release`.
        """
        await acquire(self, limiter)

    def release(self, limiter: Limiter) -> None:
        """Give back what `acquire` has borrowed; does nothing where the call has no such token any more."""
        release(self, limiter)

    def add_done_callback(self, do: Callable[[StreamResult], None]) -> None:
        """Have ``do`` called once, when the stream has ended; inner policies' first."""
        if self._done_callbacks is None:
            self._done_callbacks = []
        self._done_callbacks.append(do)

    def end(self, result: StreamResult) -> None:
        """The stream is over: do what was to be done, once; what one raises keeps no other from it."""
        waiting, self._done_callbacks = self._done_callbacks, None
        failures = []
        for do in waiting or ():
            try:
                do(result)
            except Exception as error:
                failures.append(error)
        if failures and result.error is None:
            raise failures[0]


# A Struct, for one is made for each call: attrs.frozen takes 2 µs more.
class Outcome(msgspec.Struct, Generic[R_co], frozen=True, eq=False):
    """What became of one item of a map or bulk run: a reply or an error.

    Attributes:
        index: The item's place in the input, from 0.
        request: The request that was made for the item; None where there is none for it.
        reply: None where there is an error.
        error: None where there is a reply.
        attempts: How many trips over the wire were made.
        elapsed: Seconds that all attempts took, the waits between them included.
        item: The item as it was given.
    """

    index: int
    request: Request | None
    reply: R_co | None
    error: HeadraceError | None
    attempts: int = 0
    elapsed: float = 0.0
    item: Any = None

    def __repr__(self) -> str:
        became = f"reply={self.reply!r}" if self.error is None else f"error={self.error!r}"
        return f"Outcome(index={self.index}, {became}, attempts={self.attempts}, elapsed={self.elapsed:.3f})"

    @property
    def id(self) -> str | None:
        """The id of the item's request."""
        return self.request.id if self.request else None

    @property
    def ok(self) -> bool:
        """True where there is a reply."""
        return self.reply is not None

    def unwrap(self) -> R_co:
        """The reply; raises the error where there is none."""
        if self.reply is None:
            raise cast("CallError", self.error)
        return self.reply
