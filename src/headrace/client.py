"""The client: owns the transport, the pipeline and the capacity limiter."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, overload

import anyio
import anyio.lowlevel

from headrace.answers import answer_format
from headrace.clock import running_clock
from headrace.embeddings import Embeddings, embed, embeddings_body, in_batches
from headrace.errors import (
    CallError,
    ClientStateError,
    DeadlineExceeded,
    HeadraceError,
    PolicyError,
    RequestError,
    SettingsError,
    nearest,
)
from headrace.listing import model_ids
from headrace.model import (
    EMPTY,
    Answered,
    Call,
    Ending,
    Observer,
    Outcome,
    Policy,
    Reply,
    Request,
    Send,
    Timeout,
)
from headrace.pipeline import (
    Plugins,
    check_observer,
    checked_policies,
    compile_chain,
    compile_observers,
    culprit,
    ordered,
)
from headrace.replies import checked
from headrace.requests import Message, as_request, chat_body, encode_body, response_body
from headrace.settings import CoreSettings, Settings, load_settings
from headrace.streaming import Stream, streamed_request
from headrace.transports import Transport
from headrace.transports.choice import OWN_TRANSPORTS, make_transport
from headrace.workers import Outcomes

T = TypeVar("T")

RequestLike: TypeAlias = str | Mapping[str, Any] | Request


class Client:
    """Calls one OpenAI-compatible endpoint, many times at once; an async context manager.

    ``base_url`` and ``api_key`` default to ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``; ``model`` is sent
    where a call names none. At most ``max_in_flight`` calls (default 100) are under way at once, further
    ones wait for their turn. ``timeout`` is in seconds per attempt (default 60), or a `Timeout`.

    ``policies``: exactly these, or by default those of the installed plugins with their settings. A policy
    that has ``notify`` observes as well; ``observers`` adds others. ``transport``: "native", "httpx" or a
    `Transport`; by default native, or httpx where the environment names a proxy for the URL. Any other
    keyword is a section of settings for the plugin of that name, like ``retry={"attempts": 5}``.

    The client belongs to the event loop in which it is entered. Raises `SettingsError` or `PluginError`
    when it is made, `ClientStateError` when it is used outside its block or its loop.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        model: str | None = None,
        max_in_flight: int | None = None,
        timeout: float | Timeout | None = None,
        policies: Iterable[Policy] | None = None,
        transport: Transport | str | None = None,
        observers: Iterable[Observer] = (),
        **sections: Any,
    ) -> None:
        settings = load_settings(
            {
                "base_url": base_url,
                "api_key": api_key,
                "model": model,
                "max_in_flight": max_in_flight,
                "timeout": None if isinstance(timeout, Timeout) else timeout,
                "transport": transport if isinstance(transport, str) else None,
                **_checked_keywords(sections),
            }
        )
        core = settings.core
        self._settings = core
        self._endpoint = core.endpoint()
        self._timeout = timeout if isinstance(timeout, Timeout) else core.timeouts()
        observers = list(observers)
        for observer in observers:
            check_observer(observer, "observers=")
        if policies is None:
            plugins = Plugins()
            self._policies = ordered(plugins.policies(settings))
            observers = [*plugins.observers(settings), *observers]
            self._transport = _make_transport(transport, plugins, settings)
            settings.check_claimed()
        else:
            self._policies = checked_policies(policies)
            self._transport = _make_transport(transport, None, settings)
            for name in sections:
                if name not in CoreSettings.__annotations__ and not settings.is_claimed(name):
                    raise SettingsError(
                        f"{name}= has no effect beside policies=; give it to the policy itself"
                    )
        watching = [policy for policy in self._policies if isinstance(policy, Observer)]
        self._observers = [*watching, *observers]
        self._notify = compile_observers(self._observers)
        self._send: Send = compile_chain(self._policies, checked(self._transport.send))
        self._limiter: anyio.CapacityLimiter | None = None
        self._token: object = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._token is not None:
            raise ClientStateError("this client was opened before; make another one")
        self._token = anyio.lowlevel.current_token()
        self._now = running_clock()
        self._limiter = anyio.CapacityLimiter(self._settings.max_in_flight)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        await self._transport.aclose()

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The active policies, outermost first."""
        return self._policies

    @property
    def settings(self) -> CoreSettings:
        """The core's settings as they were resolved."""
        return self._settings

    def observe(self, observer: Observer) -> None:
        """Have ``observer`` told of events as well; raises `ClientStateError` once the client is open."""
        if self._token is not None:
            raise ClientStateError("observers are added before the client is opened")
        check_observer(observer, "observe()")
        self._observers.append(observer)
        self._notify = compile_observers(self._observers)

    @property
    def in_flight(self) -> int:
        """How many calls are under way, those of maps with a ``max_in_flight`` of their own left out."""
        return self._limiter.borrowed_tokens if self._limiter else 0

    @overload
    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        answer: None = None,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: type[T], **keywords: Any
    ) -> Answered[T]: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: object, **keywords: Any
    ) -> Answered[Any]: ...
    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        answer: Any = None,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply:
        """Ask for one chat completion.

        ``messages`` is a prompt or a list of messages; ``parameters`` are the API's own (``temperature``,
        ``max_tokens``, …), ``extra_body`` what only your endpoint knows. ``timeout`` is in seconds per
        attempt, ``deadline`` in seconds for all of it; see `Request` for ``id`` and ``tags``.

        ``answer`` is a type: a dataclass, an attrs class, a msgspec Struct, a pydantic model, a Literal, an
        Enum or a list of these. Its JSON schema is sent as ``response_format``, or in a message to an
        endpoint that refuses that, and ``reply.answer`` is an instance of it.

        Raises `RequestError` before anything is sent, `CallError` when the call failed; of these
        `AnswerError` where the answer is no ``answer``: ``error.partial`` is the reply as it came.
        """
        body = chat_body(messages, parameters) | dict(extra_body or {})
        if model is not None:
            body["model"] = model
        self._check_usable()
        wanted = None if answer is None else answer_format(answer)
        if wanted is not None and "response_format" in body:
            raise RequestError("answer= sets response_format itself; leave one of them out")
        request = Request(body, id=id, timeout=timeout, deadline=deadline, tags=tags or EMPTY, answer=wanted)
        return await self._perform(self._call(as_request(request, self._settings.model)), self._limiter)

    async def respond(
        self,
        input: str | Iterable[Message],
        *,
        model: str | None = None,
        instructions: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply:
        """Ask for one response (``POST /responses``), whole.

        ``input`` is a prompt or a list of input items, ``instructions`` what stands above it;
        ``parameters`` are the API's own (``max_output_tokens``, ``reasoning``, ``tools``, …), everything
        else as with `chat`. ``reply.text`` is the text of all its messages, ``reply.body["output"]`` all
        its items. Raises as `chat` does.
        """
        body = response_body(input, instructions, parameters) | dict(extra_body or {})
        if model is not None:
            body["model"] = model
        self._check_usable()
        request = Request(body, "/responses", "POST", id, timeout, deadline, tags or EMPTY)
        return await self._perform(self._call(as_request(request, self._settings.model)), self._limiter)

    async def embed(
        self,
        texts: Iterable[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        batch: int | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """Embed any number of texts: one vector for each, in their order.

        They are sent in batches of at most ``batch`` texts (default 2048) and 300,000 bytes, which is what
        OpenAI takes; all batches at once, as far as ``max_in_flight`` allows. ``dimensions`` is the length
        of the vectors, by default the model's own. ``timeout`` is in seconds per attempt of a batch,
        ``deadline`` in seconds for all of them; ``tags`` and ``extra_body`` are those of `chat`, the same for
        each batch. Without texts nothing is sent.

        Raises `RequestError` before anything is sent: for one text in place of a list, and for an empty text
        or what is no text, with its index. Raises `CallError` when a batch failed, of these `InvalidReply`
        when it has not one vector for each text; the batches still under way are cancelled.
        """
        body = embeddings_body(dimensions, extra_body)
        if model is not None:
            body["model"] = model
        self._check_usable()
        request = Request(body, "/embeddings", timeout=timeout, deadline=deadline, tags=tags or EMPTY)
        request = as_request(request, self._settings.model)
        until = None if deadline is None else self._now() + deadline
        batches = in_batches(texts, batch)
        send = functools.partial(self._perform_until, until)
        return await embed(send, request, batches, self._settings.max_in_flight)

    async def models(self) -> list[str]:
        """The ids of the models that the endpoint lists, in its order.

        Raises `CallError` when the call failed, of these `InvalidReply` when the answer is no such list.
        """
        return model_ids(await self.request("GET", "/models"))

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call anything else that the endpoint has, with the same policies.

        ``path`` is appended to the base URL; ``body`` is sent as JSON. The model is filled in where the
        body names none. Raises as `chat` does.
        """
        self._check_usable()
        request = Request(body, path, method.upper(), id, timeout, deadline, tags or EMPTY)
        return await self._perform(self._call(as_request(request, self._settings.model)), self._limiter)

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Stream:
        """Ask for one chat completion and read it as it is made: an async context manager over its pieces.

        The arguments are those of `chat`. In the block iterate over the stream for each `Piece`; after the
        last one ``stream.reply`` is the whole `Reply`, with usage, cost and the time to its first token.
        Leaving the block early drops the rest. ``timeout`` bounds the wait for the first piece (``total``)
        and from piece to piece (``stall``, default 60 s), ``deadline`` all of it. A stream counts as in
        flight until its block ends.

        Raises what `chat` raises: before the first piece when the block is entered, having retried as the
        policies say, and later out of the iteration, where nothing is sent again and ``error.partial`` is
        what had come.
        """
        body = chat_body(messages, parameters) | dict(extra_body or {})
        if model is not None:
            body["model"] = model
        self._check_usable()
        request = Request(body, id=id, timeout=timeout, deadline=deadline, tags=tags or EMPTY)
        request = streamed_request(as_request(request, self._settings.model))
        return Stream(self._streaming(request))

    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
    ) -> Outcomes[RequestLike]:
        """Make a call for each of ``requests``; an async context manager that yields outcomes.

        Items are drawn as they are needed and at most ``max_in_flight + buffer`` are held at a time,
        whatever the input's length; a slow consumer slows the sending. ``max_in_flight`` defaults to the
        client's, shared with all its other calls; a number given here is this map's own. ``buffer`` is how
        many finished outcomes may wait for the consumer while others are sent, by default as many as may
        be in flight; with 0 nothing new is sent for an outcome that was not taken. Outcomes come as they
        complete, or in input order with ``ordered=True``. An item that fails becomes an outcome with an
        error and touches no other; leaving the block cancels what is in flight.

        Raises `SettingsError` for a ``max_in_flight`` below 1 or a ``buffer`` below 0, and what iterating
        ``requests`` raises, after the outcomes of what was drawn before.
        """
        self._check_usable()
        if max_in_flight is not None and max_in_flight < 1:
            raise SettingsError(f"max_in_flight={max_in_flight}: must be at least 1")
        if buffer is not None and buffer < 0:
            raise SettingsError(f"buffer={buffer}: must not be below 0")
        if isinstance(requests, (str, Mapping)) or not isinstance(requests, (Iterable, AsyncIterable)):
            raise RequestError(f"map takes an iterable of requests, not a {type(requests).__name__}")
        limiter = self._limiter if max_in_flight is None else None
        workers = max_in_flight or self._settings.max_in_flight
        return Outcomes(
            requests,
            functools.partial(self._outcome, limiter),
            workers=workers,
            ordered=ordered,
            buffer=workers if buffer is None else buffer,
        )

    async def _outcome(self, limiter: anyio.CapacityLimiter | None, index: int, item: RequestLike) -> Outcome:
        try:
            if self._closed:
                self._check_usable()
            request = as_request(item, self._settings.model)
            call = self._call(request)
        except HeadraceError as error:
            return Outcome(index, item if isinstance(item, Request) else None, None, error)
        try:
            reply = await self._perform(call, limiter)
        except HeadraceError as error:
            return Outcome(index, request, None, error, call.attempts, self._now() - call.started)
        return Outcome(index, request, reply, None, reply.attempts, reply.elapsed)

    def _call(self, request: Request, *, streamed: bool = False) -> Call:
        timeout = request.timeout
        if timeout is None:
            timeout = self._timeout
        elif not isinstance(timeout, Timeout):
            timeout = Timeout(timeout, connect=self._timeout.connect, stall=self._timeout.stall)
        now = self._now()
        return Call(
            request,
            self._endpoint,
            encode_body(request.body),
            timeout,
            now,
            None if request.deadline is None else now + request.deadline,
            notify=self._notify,
            streamed=streamed,
            now=self._now,
        )

    async def _perform_until(self, until: float | None, request: Request) -> Reply:
        """Make one of several calls that share a deadline."""
        call = self._call(request)
        call.deadline = until
        return await self._perform(call, self._limiter)

    async def _take_place(self, call: Call, limiter: anyio.CapacityLimiter) -> None:
        """Wait until the limiter has room for a call."""
        with anyio.CancelScope(deadline=math.inf if call.deadline is None else call.deadline) as scope:
            await limiter.acquire_on_behalf_of(call)
        if scope.cancelled_caught:
            raise self._too_late(call) from None
        call.started = self._now()
        if self._closed:  # while it waited
            limiter.release_on_behalf_of(call)
            self._check_usable()

    @asynccontextmanager
    async def _streaming(self, request: Request) -> AsyncIterator[tuple[Call, Reply]]:
        """A place in flight for the length of the block, and the reply with its first piece."""
        call = self._call(request, streamed=True)
        limiter = self._limiter
        assert limiter is not None
        try:
            limiter.acquire_on_behalf_of_nowait(call)
        except anyio.WouldBlock:
            await self._take_place(call, limiter)
        try:
            try:
                reply = await self._perform(call, None)
            except BaseException as error:
                call.end(Ending(error=error))
                raise
            yield call, reply
        finally:
            limiter.release_on_behalf_of(call)

    async def _perform(self, call: Call, limiter: anyio.CapacityLimiter | None) -> Reply:
        """Send a call through the pipeline, bounded by its deadline, and complete its reply or error.

        With a limiter, once that has room for it.
        """
        if limiter is not None:
            try:
                limiter.acquire_on_behalf_of_nowait(call)
            except anyio.WouldBlock:
                await self._take_place(call, limiter)
        try:
            if call.deadline is None:
                reply = await self._send(call)
            else:
                with anyio.CancelScope(deadline=call.deadline) as scope:
                    reply = await self._send(call)
                if scope.cancelled_caught:
                    raise self._too_late(call)
        except CallError as error:
            error.request, error.attempts = call.request, call.attempts
            raise
        except HeadraceError:
            raise
        except Exception as error:
            name = culprit(self._policies, error.__traceback__)
            who = f"policy {name!r}" if name else "the transport"
            failure = PolicyError(f"{who} raised {type(error).__name__}: {error}")
            failure.request, failure.attempts = call.request, call.attempts
            raise failure from error
        finally:
            if limiter is not None:
                limiter.release_on_behalf_of(call)
        try:
            reply.attempts = call.attempts
            reply.elapsed = self._now() - call.started
        except AttributeError as error:
            names = " or ".join(repr(policy.name) for policy in self._policies) or "none"
            raise PolicyError(f"a policy ({names}) returned {reply!r}, which is no Reply") from error
        return reply

    def _too_late(self, call: Call) -> DeadlineExceeded:
        error = DeadlineExceeded(
            f"no answer within the request's deadline of {call.request.deadline:g} s "
            f"({call.attempts} attempts)",
            "deadline",
        )
        error.request, error.attempts = call.request, call.attempts
        return error

    def _check_usable(self) -> None:
        if self._closed:
            raise ClientStateError("this client is closed; make the call inside its 'async with' block")
        if self._token is None:
            raise ClientStateError("this client is not open yet; enter it with 'async with'")
        if anyio.lowlevel.current_token() != self._token:
            raise ClientStateError(
                "this client was opened in another event loop; open one client in each loop"
            )


def _make_transport(
    transport: Transport | str | None, plugins: Plugins | None, settings: Settings
) -> Transport:
    if transport is None or isinstance(transport, str):
        if settings.core.transport in OWN_TRANSPORTS:
            return make_transport(settings.core)
        return (plugins or Plugins()).transport(settings) or make_transport(settings.core)
    if isinstance(transport, type):
        raise SettingsError(
            f"transport= is the class {transport.__name__}; did you mean {transport.__name__}()?"
        )
    if not isinstance(transport, Transport):
        raise SettingsError(f"transport={transport!r} is no transport: it needs send(call) and aclose()")
    return transport


def _checked_keywords(sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keywords that are no parameters: the core's other settings, and sections for plugins."""
    known = {*(Client.__init__.__kwdefaults__ or ()), *CoreSettings.__annotations__}
    for name, value in sections.items():
        if name not in known and not isinstance(value, Mapping):
            raise SettingsError(f"Client has no keyword {name!r}; {nearest(name, known)}")
    return sections
