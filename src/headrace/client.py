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
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

import anyio
import anyio.lowlevel

from headrace.answers import AnswerFormat, answer_format
from headrace.api import Api
from headrace.clock import running_clock
from headrace.endpoints import Endpoint
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
from headrace.keys import KeySource, Secret, as_secret
from headrace.model import Call, Ending, Observer, Outcome, Policy, Request, Send, Timeout
from headrace.pipeline import (
    Plugins,
    check_observer,
    chosen,
    compile_chain,
    compile_observers,
    foreign_failure,
)
from headrace.places import Places
from headrace.redacted_errors import redact_error
from headrace.replies import checked
from headrace.reply import Answered, Reply
from headrace.requests import as_request, encoded
from headrace.settings import CoreSettings, Settings, load_settings
from headrace.streaming import streamed_request
from headrace.transports import Transport
from headrace.transports.choice import OWN_TRANSPORTS, make_transport
from headrace.workers import Outcomes

T = TypeVar("T")

_MOST_MODELS = 1000

RequestLike: TypeAlias = str | Mapping[str, Any] | Request


class Client(Api):
    """Calls OpenAI-compatible endpoints, many times at once; an async context manager.

    ``base_url`` and ``api_key`` default to ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``; keys that expire are
    given by a callable, see `Endpoint`. ``endpoints`` in their place are several, as `Endpoint` or as tables
    by name: a call goes to the first that has its model, unless a policy chooses another of those. ``model``
    is sent where a call names none. At most ``max_in_flight`` calls (default 100) are under way at once,
    further ones wait for their turn. ``timeout`` is in seconds per attempt (default 60), or a `Timeout`.

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
        api_key: str | Secret | KeySource | None = None,
        endpoints: Sequence[Endpoint] | Mapping[str, Mapping[str, Any]] | None = None,
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
        self._endpoints = core.checked_endpoints()
        self._alike = all(endpoint.models is None for endpoint in self._endpoints)
        self._serving: dict[str | None, tuple[Endpoint, ...]] = {}
        self._timeout = timeout if isinstance(timeout, Timeout) else core.timeouts()
        plugins = Plugins() if policies is None else None
        self._policies, self._observers = chosen(policies, observers, plugins, settings)
        self._transport = _make_transport(transport, plugins, settings)
        if plugins is not None:
            settings.check_claimed()
        else:
            for name in sections:
                if name not in CoreSettings.__annotations__ and not settings.is_claimed(name):
                    raise SettingsError(
                        f"{name}= has no effect beside policies=; give it to the policy itself"
                    )
        self._notify = compile_observers(self._observers)
        self._send: Send = compile_chain(
            self._policies, checked(self._transport.send, core.max_response_bytes)
        )
        self._places: Places | None = None
        self._token: object = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._token is not None:
            raise ClientStateError("this client was opened before; make another one")
        self._token = anyio.lowlevel.current_token()
        self._now = running_clock()
        self._places = Places(self._settings.max_in_flight)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        await self._transport.aclose()

    def __repr__(self) -> str:
        where = ", ".join(endpoint.base_url for endpoint in self._endpoints)
        if self._closed or self._places is None:
            return f"<Client {where} {'closed' if self._closed else 'not open yet'}>"
        return f"<Client {where} open, {self.in_flight} of {self._settings.max_in_flight} in flight>"

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The active policies, outermost first."""
        return self._policies

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
        self._observers.append(observer)
        self._notify = compile_observers(self._observers)

    @property
    def in_flight(self) -> int:
        """How many calls are under way, those of maps with a ``max_in_flight`` of their own left out."""
        return self._places.taken if self._places else 0

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
    ) -> Outcomes[Reply]: ...
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
    ) -> Outcomes[Answered[T]]: ...
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
    ) -> Outcomes[Answered[Any]]: ...
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: Any = None,
        max_in_flight: int | None = None,
        ordered: bool = False,
        buffer: int | None = None,
        stop_on: Literal["shared_errors"] | None = None,
    ) -> Outcomes[Any]:
        """Make a call for each of ``requests``; an async context manager that yields outcomes.

        Items are drawn as they are needed and at most ``max_in_flight + buffer`` are held at a time,
        whatever the input's length; a slow consumer slows the sending. ``max_in_flight`` defaults to the
        client's, shared with all its other calls; a number given here is this map's own. ``buffer`` is how
        many finished outcomes may wait for the consumer while others are sent, by default as many as may
        be in flight; with 0 nothing new is sent for an outcome that was not taken. ``answer`` is the type of
        each answer, as with `chat`, for requests that name none of their own. Outcomes come as they
        complete, or in input order with ``ordered=True``. An item that fails becomes an outcome with an
        error and touches no other; leaving the block cancels what is in flight.

        With ``stop_on="shared_errors"`` the map stops at an error that all later calls share, like no credit
        left, a refused key or an unknown model: once three items have failed with it and no call begun after
        the first of them has succeeded. Nothing more is drawn then, and the error is raised after the
        outcomes of what was drawn before. By default no error stops a map.

        Raises `SettingsError` for a ``max_in_flight`` below 1, a ``buffer`` below 0 or another ``stop_on``,
        `RequestError` for an ``answer`` that is no such type, and what iterating ``requests`` raises, after
        the outcomes of what was drawn before.
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
        places = self._places if max_in_flight is None else None
        workers = max_in_flight or self._settings.max_in_flight
        work: Callable[[int, Any], Awaitable[Outcome[Any]]] = functools.partial(
            self._outcome, places, None if answer is None else answer_format(answer)
        )
        if stop_on is not None:
            from headrace.stopping import Stopping  # with its table of errors; few maps need it

            requests = stopping = Stopping(requests, work)
            work = stopping.work
        return Outcomes(
            requests,
            work,
            workers=workers,
            ordered=ordered,
            buffer=workers if buffer is None else buffer,
        )

    async def _outcome(
        self,
        places: Places | None,
        answer: AnswerFormat | None,
        index: int,
        item: RequestLike,
    ) -> Outcome:
        try:
            if self._closed:
                self._check_usable()
            request = as_request(item, self._settings.model, answer)
            call = self._call(request)
            call.priority -= 1  # somebody may be waiting for a single one
        except HeadraceError as error:
            return Outcome(index, item if isinstance(item, Request) else None, None, error)
        try:
            reply = await self._perform(call, places)
        except HeadraceError as error:
            return Outcome(index, request, None, error, call.attempts, self._now() - call.started)
        return Outcome(index, request, reply, None, reply.attempts, reply.elapsed)

    def _call(self, request: Request, *, streamed: bool = False) -> Call:
        timeout = request.timeout
        if timeout is None:
            timeout = self._timeout
        elif not isinstance(timeout, Timeout):
            timeout = Timeout(timeout, connect=self._timeout.connect, stall=self._timeout.stall)
        now, endpoints = self._now(), self._endpoints
        if not self._alike:
            endpoints = self._serving.get(request.model) or self._serve(request.model)
        request, content = encoded(request)
        return Call(
            request,
            endpoints[0],
            content,
            timeout,
            now,
            None if request.deadline is None else now + request.deadline,
            notify=self._notify,
            streamed=streamed,
            now=self._now,
            endpoints=endpoints,
            priority=request.priority,
            all_endpoints=self._endpoints,
        )

    def _serve(self, model: str | None) -> tuple[Endpoint, ...]:
        """The endpoints that have a model."""
        endpoints = tuple([endpoint for endpoint in self._endpoints if endpoint.serves(model)])
        if not endpoints:
            known = {name for endpoint in self._endpoints for name in endpoint.models or ()}
            raise RequestError(f"no endpoint has the model {model!r}; {nearest(str(model), known)}")
        if len(self._serving) < _MOST_MODELS:
            self._serving[model] = endpoints
        return endpoints

    async def _send_request(self, request: Request, until: float | None = None) -> Reply:
        self._check_usable()
        call = self._call(as_request(request, self._settings.model))
        if until is not None:
            call.deadline = until
        return await self._perform(call, self._places)

    def _begin_stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Call, Reply]]:
        self._check_usable()
        return self._streaming(streamed_request(as_request(request, self._settings.model)))

    async def _take_place(self, call: Call, places: Places) -> None:
        """Wait for a place for a call."""
        with anyio.CancelScope(deadline=math.inf if call.deadline is None else call.deadline) as scope:
            await places.take(call.priority)
        if scope.cancelled_caught:
            raise self._too_late(call) from None
        call.started = self._now()
        if self._closed:  # while it waited
            places.give_back()
            self._check_usable()

    @asynccontextmanager
    async def _streaming(self, request: Request) -> AsyncIterator[tuple[Call, Reply]]:
        """A place in flight for the length of the block, and the reply with its first piece."""
        call = self._call(request, streamed=True)
        places = self._places
        assert places is not None
        if not places.take_at_once():
            await self._take_place(call, places)
        try:
            try:
                reply = await self._perform(call, None)
            except BaseException as error:
                call.end(Ending(error=error))
                raise
            yield call, reply
        finally:
            places.give_back()

    async def _perform(self, call: Call, places: Places | None) -> Reply:
        """Send a call through the pipeline, bounded by its deadline, and complete its reply or error.

        With ``places``, once there is one for it.
        """
        if places is not None and not places.take_at_once():
            await self._take_place(call, places)
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
            failure = foreign_failure(self._policies, error)
            redact_error(failure, call.endpoint)
            failure.request, failure.attempts = call.request, call.attempts
            raise failure from error
        finally:
            if places is not None:
                places.give_back()
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
