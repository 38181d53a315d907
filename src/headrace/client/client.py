"""The client: owns the transport, the pipeline and the places in flight."""

from __future__ import annotations

import functools
import math
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import anyio
import anyio.lowlevel
from anyio.lowlevel import checkpoint

from headrace._support.clock import running_clock
from headrace._support.interrupts import protect_from_interrupts, uninterrupted
from headrace._support.text import nearest
from headrace.calls import Call, Outcome, Request, StreamResult, Timeout
from headrace.client.api_methods import ApiMethods
from headrace.client.map import OutcomeStream
from headrace.endpoint import Endpoint
from headrace.errors import ClientStateError, HeadraceError, RequestError, SettingsError
from headrace.keys import KeyProvider, Secret, as_secret
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.attempt import with_raise_for_status
from headrace.pipeline.chunk_reader import streamed_request
from headrace.pipeline.lifespans import Lifespans
from headrace.pipeline.pipeline import Pipeline, resolve_policies
from headrace.pipeline.plugin_manager import Plugins, check_observer
from headrace.policies import Observer, Policy
from headrace.replies import ParsedReply, Reply
from headrace.settings import CoreSettings, Settings, load_settings
from headrace.tokens import Limiter
from headrace.transports import Transport
from headrace.transports.factory import OWN_TRANSPORTS, make_transport
from headrace.wire.request_bodies import RequestLike, as_request, encode_request
from headrace.wire.structured_output import ResponseFormat, response_format_for

T = TypeVar("T")

_MOST_MODELS = 1000
_OF_A_TRANSPORT = frozenset({"cert", "cert_key", "cert_password", "proxy"})


class Client(ApiMethods):
    """Calls OpenAI-compatible endpoints, many times at once; an async context manager.

    Each attempt on the wire takes a token of the client's limiter, and gives it back when it is over: a call
    that waits before a retry, or for its turn, has none. Further attempts wait for a token, by priority.

    The client belongs to the event loop in which it is entered.

    Args:
        base_url: Where the endpoint is (default: ``OPENAI_BASE_URL``, or OpenAI's own).
        api_key: What opens it (default: ``OPENAI_API_KEY``); a callable for keys that expire, see `Endpoint`.
        endpoints: Several endpoints in place of the one, as `Endpoint` or as tables by name. A call goes to
            the first that has its model, unless a policy chooses another one of those.
        model: Sent where a call names none.
        max_in_flight: How many attempts may be on the wire at once (default 100).
        limiter: What gives the tokens, in place of ``max_in_flight``: a `PriorityCapacityLimiter`, or an
            `anyio.CapacityLimiter`, which serves first come, first served. Clients of one event loop may
            share it.
        timeout: Seconds for each attempt (default 60), or a `Timeout`.
        policies: Exactly these; by default those of the installed plugins, with their settings. A policy that
            has ``notify`` observes as well.
        transport: "native", "httpx" or a `Transport` (default: native, or httpx where a URL goes by a proxy
            of SOCKS or https).
        observers: More who are told of events.
        sections: Any other keyword is another setting of the core, like ``proxy=`` or ``cert=``, or a section
            of settings for the plugin of that name, like ``retry={"attempts": 5}``.

    Raises:
        SettingsError: A setting is unknown or out of range.
        PluginError: A plugin cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | Secret | KeyProvider | None = None,
        endpoints: Sequence[Endpoint] | Mapping[str, Mapping[str, Any]] | None = None,
        model: str | None = None,
        max_in_flight: int | None = None,
        limiter: Limiter | None = None,
        timeout: float | Timeout | None = None,
        policies: Iterable[Policy] | None = None,
        transport: Transport | str | None = None,
        observers: Iterable[Observer] = (),
        **sections: Any,
    ) -> None:
        settings = load_settings(
            {
                "base_url": base_url,
                "api_key": as_secret(api_key),
                "endpoints": endpoints,
                "model": model,
                "max_in_flight": max_in_flight,
                "timeout": None if isinstance(timeout, Timeout) else timeout,
                "transport": transport if isinstance(transport, str) else None,
                **_checked_keywords(sections),
            }
        )
        core = settings.core
        self._settings = core
        self._endpoints = core.validated_endpoints()
        self._alike = all(endpoint.models is None for endpoint in self._endpoints)
        self._serving: dict[str | None, tuple[Endpoint, ...]] = {}
        self._timeout = timeout if isinstance(timeout, Timeout) else core.timeouts()
        plugins = Plugins() if policies is None else None
        active, watching = resolve_policies(policies, observers, plugins, settings)
        self._transport = _make_transport(transport, plugins, settings)
        if self._transport is transport:
            for name in _OF_A_TRANSPORT.intersection(sections):
                raise SettingsError(
                    f"{name}= has no effect beside transport=; give it to the transport itself"
                )
        if plugins is not None:
            settings.check_claimed()
        else:
            for name in sections:
                if name not in CoreSettings.__annotations__ and not settings.is_claimed(name):
                    raise SettingsError(
                        f"{name}= has no effect beside policies=; give it to the policy itself"
                    )
        self._pipeline = Pipeline(
            active,
            watching,
            _make_limiter(limiter, max_in_flight, core),
            with_raise_for_status(self._transport.send, core.max_response_bytes),
        )
        self._lifespans = Lifespans(self._pipeline.parts(self._transport), self._close)
        self._token: object = None

    @uninterrupted
    async def __aenter__(self) -> Self:
        protect_from_interrupts()
        if self._token is not None:
            raise ClientStateError("this client was opened before; make another one")
        self._token = anyio.lowlevel.current_token()
        self._now = running_clock()
        try:
            await self._lifespans.enter()
        except BaseException:
            self._close("this client did not open; make another one")
            raise
        return self

    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._lifespans.entered:
            raise ClientStateError("this client is not open; enter it once, and leave it once")
        self._close("this client is closed; make the call inside its 'async with' block")
        await self._lifespans.leave(kind, error, traceback)

    def _close(self, why: str) -> None:
        self._pipeline.closed = why

    def __repr__(self) -> str:
        where = ", ".join(endpoint.base_url for endpoint in self._endpoints)
        if self._pipeline.closed is not None or self._token is None:
            return f"<Client {where} {'not open yet' if self._token is None else 'closed'}>"
        return f"<Client {where} open, {self.in_flight} of {self.limiter.total_tokens} in flight>"

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The active policies, outermost first."""
        return self._pipeline.policies

    @property
    def limiter(self) -> Limiter:
        """What gives each attempt its token; ``limiter.total_tokens`` can be set while calls are made."""
        return self._pipeline.limiter

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that calls may go to, in the order in which they were named."""
        return self._endpoints

    @property
    def settings(self) -> CoreSettings:
        """The core's settings as they were resolved."""
        return self._settings

    def observe(self, observer: Observer) -> None:
        """Have ``observer`` told of events as well; raises `ClientStateError` once the client is open."""
        if self._token is not None:
            raise ClientStateError("observers are added before the client is opened")
        check_observer(observer, "observe()")
        self._pipeline.observe(observer)

    @property
    def in_flight(self) -> int:
        """How many attempts are on the wire; of all clients that share the limiter."""
        return self._pipeline.limiter.borrowed_tokens

    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: None = None,
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
        stop_on: Literal["shared_errors"] | None = None,
    ) -> OutcomeStream[Reply]: ...
    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: type[T],
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
        stop_on: Literal["shared_errors"] | None = None,
    ) -> OutcomeStream[ParsedReply[T]]: ...
    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: object,
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
        stop_on: Literal["shared_errors"] | None = None,
    ) -> OutcomeStream[ParsedReply[Any]]: ...
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: Any = None,
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
        stop_on: Literal["shared_errors"] | None = None,
    ) -> OutcomeStream[Any]:
        """Make a call for each of ``requests``; an async context manager that yields outcomes.

        Items are drawn as they are needed: at most ``max_in_flight`` calls are active at once, and four times
        as many are held with those that wait for a retry or for their turn. A slow consumer slows the
        sending. An item that fails becomes an outcome with an error, and touches no other. Leaving the block
        cancels what is in flight.

        Args:
            requests: Prompts, bodies, lines of OpenAI's batch format, `Request` objects, or objects whose
                ``request`` is one; an iterable or an async iterable of any length.
            answer: The type of each answer, as with `chat`, for requests that name none of their own.
            max_in_flight: How many attempts of this map may be on the wire at once, within the limiter of the
                client (default: as many as that allows, also when its ``total_tokens`` changes).
            ordered: Have the outcomes in the order of the input (default: as they complete).
            buffer: How many finished outcomes may wait for the consumer while other items are sent (default:
                as many as may be in flight; 0: nothing is sent while an outcome was not taken).
            stop_on: "shared_errors" stops the map at an error that all later calls share, like no credit
                left, a refused key or an unknown model: when three items have failed with it and no call that
                began after the first of them has succeeded. Nothing more is drawn then, and the error is
                raised after the outcomes of what was drawn before. None: no error stops it.

        Raises:
            SettingsError: ``max_in_flight`` is below 1, ``buffer`` below 0, or ``stop_on`` is another word.
            RequestError: ``answer`` is not such a type.
            Exception: What iterating over ``requests`` raises, after the outcomes of what was drawn before.
        """
        self._check_usable()
        if max_in_flight is not None and max_in_flight < 1:
            raise SettingsError(f"max_in_flight={max_in_flight}: must be at least 1")
        if buffer is not None and buffer < 0:
            raise SettingsError(f"buffer={buffer}: must not be below 0")
        if isinstance(requests, (str, Mapping)) or not isinstance(requests, (Iterable, AsyncIterable)):
            raise RequestError(f"map takes an iterable of requests, not a {type(requests).__name__}")
        if stop_on not in {None, "shared_errors"}:
            raise SettingsError(f"stop_on={stop_on!r}: must be 'shared_errors' or None")
        if max_in_flight is None and self.limiter.total_tokens == math.inf:
            raise SettingsError("the client's limiter has no limit; give the map one: max_in_flight=")
        own_limiter = None if max_in_flight is None else PriorityCapacityLimiter(max_in_flight)
        work: Callable[[OutcomeStream[Any], int, Any], Awaitable[Outcome[Any]]] = functools.partial(
            self._outcome, own_limiter, None if answer is None else response_format_for(answer)
        )
        if stop_on is not None:
            from headrace.client.stop_on import (
                StopOnSharedErrors,  # with its table of errors; few maps need it
            )

            requests = stopping = StopOnSharedErrors(requests, work)
            work = stopping.work
        return OutcomeStream(
            requests, work, limiter=own_limiter or self.limiter, ordered=ordered, buffer=buffer
        )

    async def _outcome(
        self,
        limiter: Limiter | None,
        answer: ResponseFormat | None,
        stream: OutcomeStream[Any],
        index: int,
        item: RequestLike,
    ) -> Outcome:
        try:
            if self._pipeline.closed:
                self._check_usable()
            request = as_request(item, self._settings.model, answer)
            call = self._call(request)
        except HeadraceError as error:
            await checkpoint()
            return Outcome(index, item if isinstance(item, Request) else None, None, error, item=item)
        call.priority -= 1  # somebody may be waiting for a single one
        call._map, call._map_limiter = stream, limiter
        try:
            reply = await self._pipeline.perform(call)
        except HeadraceError as error:
            return Outcome(index, request, None, error, call.attempts, self._now() - call.started, item)
        return Outcome(index, request, reply, None, reply.attempts, reply.elapsed, item)

    def _call(self, request: Request, *, streamed: bool = False) -> Call:
        timeout = request.timeout
        if timeout is None:
            timeout = self._timeout
        elif not isinstance(timeout, Timeout):
            timeout = Timeout(timeout, connect=self._timeout.connect, stall=self._timeout.stall)
        now, endpoints = self._now(), self._endpoints
        if not self._alike:
            endpoints = self._serving.get(request.model) or self._endpoints_for(request.model)
        request, content = encode_request(request)
        return Call(
            request,
            endpoints[0],
            content,
            timeout,
            now,
            None if request.deadline is None else now + request.deadline,
            notify=self._pipeline.notify,
            streamed=streamed,
            now=self._now,
            endpoints=endpoints,
            priority=request.priority,
            all_endpoints=self._endpoints,
        )

    def _endpoints_for(self, model: str | None) -> tuple[Endpoint, ...]:
        """The endpoints that have a model."""
        endpoints = tuple([endpoint for endpoint in self._endpoints if endpoint.serves(model)])
        if not endpoints:
            known = {name for endpoint in self._endpoints for name in endpoint.models or ()}
            raise RequestError(f"no endpoint has the model {model!r}; {nearest(str(model), known)}")
        if len(self._serving) < _MOST_MODELS:
            self._serving[model] = endpoints
        return endpoints

    async def _send_request(self, request: Request, until: float | None = None) -> Reply:
        try:
            self._check_usable()
            call = self._call(as_request(request, self._settings.model))
        except HeadraceError:
            await checkpoint()
            raise
        if until is not None:
            call.deadline = until
        return await self._pipeline.perform(call)

    def _begin_stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Call, Reply]]:
        self._check_usable()
        return self._streaming(streamed_request(as_request(request, self._settings.model)))

    @asynccontextmanager
    async def _streaming(self, request: Request) -> AsyncIterator[tuple[Call, Reply]]:
        """The call, and the reply with its first piece; at the end of the block the call has ended."""
        call = self._call(request, streamed=True)
        try:
            reply = await self._pipeline.perform(call)
        except BaseException as error:
            call.end(StreamResult(error=error))
            raise
        yield call, reply

    def _check_usable(self) -> None:
        if self._pipeline.closed is not None:
            raise ClientStateError(self._pipeline.closed)
        if self._token is None:
            raise ClientStateError("this client is not open yet; enter it with 'async with'")
        if anyio.lowlevel.current_token() != self._token:
            raise ClientStateError(
                "this client was opened in another event loop; open one client in each loop"
            )


def _make_limiter(limiter: Limiter | None, max_in_flight: int | None, core: CoreSettings) -> Limiter:
    if limiter is None:
        return PriorityCapacityLimiter(core.max_in_flight)
    if max_in_flight is not None:
        raise SettingsError("limiter= and max_in_flight= both say how many at once; leave one of them out")
    if not isinstance(limiter, (PriorityCapacityLimiter, anyio.CapacityLimiter)):
        raise SettingsError(
            f"limiter={limiter!r}: must be a headrace.PriorityCapacityLimiter or an anyio.CapacityLimiter"
        )
    return limiter


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
