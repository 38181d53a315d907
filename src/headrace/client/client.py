"""The client: settings, policies, transport and pipeline in one async context manager."""

from __future__ import annotations

import functools
import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import anyio.lowlevel

from headrace._support.clock import running_clock
from headrace._support.interrupts import protect_from_interrupts, uninterrupted
from headrace.calls import Outcome, Timeout
from headrace.client.arguments import (
    check_keywords,
    check_keywords_have_effect,
    check_map_arguments,
    choose_limiter,
    choose_transport,
)
from headrace.client.call_runner import CallRunner
from headrace.client.map import OutcomeStream
from headrace.endpoint import Endpoint
from headrace.errors import ClientStateError
from headrace.keys import KeyProvider, Secret, as_secret
from headrace.limiter_tokens import Limiter
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.attempt import with_raise_for_status
from headrace.pipeline.lifespans import Lifespans
from headrace.pipeline.pipeline import Pipeline, resolve_policies
from headrace.pipeline.plugin_manager import Plugins, check_observer
from headrace.policies import Observer, Policy
from headrace.replies import ParsedReply, Reply
from headrace.settings import CoreSettings, load_settings
from headrace.transports import Transport
from headrace.wire.request_bodies import RequestLike
from headrace.wire.structured_output import response_format_for

T = TypeVar("T")


class Client(CallRunner):
    """Calls OpenAI-compatible endpoints, many times at once; an async context manager.

    Each attempt on the wire holds a token of the client's limiter. A call that waits, for a retry or for a
    rate limit, holds none; its next attempt waits for a token, by priority. The client belongs to the event
    loop in which it is entered.

    Args:
        base_url: The URL of the endpoint (default: ``OPENAI_BASE_URL``, or else OpenAI's).
        api_key: Its key (default: ``OPENAI_API_KEY``), or a function that returns one, see `Endpoint`.
        endpoints: Several endpoints instead of ``base_url``, as a list of `Endpoint` or as tables by name. A
            call goes to the first one that serves its model, unless a policy chooses another one.
        model: The model for calls that name none.
        max_in_flight: How many attempts may be on the wire at the same time (default 100).
        limiter: A limiter instead of ``max_in_flight``: a `PriorityCapacityLimiter`, or an
            `anyio.CapacityLimiter`, which ignores priorities. Clients of one event loop may share it.
        timeout: Seconds for each attempt (default 60), or a `Timeout`.
        policies: Exactly these policies (default: those of the installed plugins, with their settings). A
            policy with a method ``notify`` is also an observer.
        transport: "native", "httpx" or a `Transport` (default: native, or httpx on Windows and behind a SOCKS
            or https proxy).
        observers: Further observers of events.
        **sections: Other settings of the core, like ``proxy=`` or ``cert=``, and sections for plugins, like
            ``retry={"attempts": 5}``.

    Raises:
        SettingsError: A setting is unknown or not valid.
        PluginError: A plugin cannot be used.

    Example:
        ```python
        async with headrace.Client(model="deepseek-v3.2", max_in_flight=500) as client:
            reply = await client.chat("Hello")
            async with client.map(prompts) as outcomes:
                async for outcome in outcomes:
                    print(outcome.index, outcome.unwrap().text)
        ```
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
        check_keywords(sections, Client.__init__.__kwdefaults__ or ())
        settings = load_settings(
            {
                "base_url": base_url,
                "api_key": as_secret(api_key),
                "endpoints": endpoints,
                "model": model,
                "max_in_flight": max_in_flight,
                "timeout": None if isinstance(timeout, Timeout) else timeout,
                "transport": transport if isinstance(transport, str) else None,
                **sections,
            }
        )
        core = settings.core
        self._settings = core
        self._endpoints = core.validated_endpoints()
        self._any_model = all(endpoint.models is None for endpoint in self._endpoints)
        self._endpoints_by_model = {}
        self._timeout = timeout if isinstance(timeout, Timeout) else core.timeouts()
        plugins = Plugins() if policies is None else None
        active, observing = resolve_policies(policies, observers, plugins, settings)
        self._transport = choose_transport(transport, plugins, settings)
        check_keywords_have_effect(
            sections,
            settings,
            own_transport=self._transport is transport,
            own_policies=policies is not None,
        )
        self._pipeline = Pipeline(
            active,
            observing,
            choose_limiter(limiter, max_in_flight, core),
            with_raise_for_status(self._transport.send, core.max_response_bytes),
        )
        self._lifespans = Lifespans(self._pipeline.components(self._transport), self._close)
        self._token = None

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
            raise ClientStateError("this client is not open; enter it once and exit it once")
        self._close("this client is closed; make the call inside its 'async with' block")
        await self._lifespans.leave(kind, error, traceback)

    def _close(self, reason: str) -> None:
        self._pipeline.closed = reason

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
        """Gives each attempt its token. Its ``total_tokens`` can be set at any time."""
        return self._pipeline.limiter

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that calls may go to, in the given order."""
        return self._endpoints

    @property
    def settings(self) -> CoreSettings:
        """The settings of the core, merged from file, environment and keywords."""
        return self._settings

    def observe(self, observer: Observer) -> None:
        """Add an observer.

        Raises:
            ClientStateError: The client was opened already.
            PluginError: It is not an observer.
        """
        if self._token is not None:
            raise ClientStateError("this client is open already; add observers before that")
        check_observer(observer, "observe()")
        self._pipeline.observe(observer)

    @property
    def in_flight(self) -> int:
        """How many attempts are on the wire now, of all clients that share the limiter."""
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
        """Make a call for each of ``requests``; an async context manager and iterator of outcomes.

        Requests are read when they are needed. A slow consumer slows the sending. An item that fails becomes
        an outcome with an error and does not affect others. Leaving the block cancels the remaining calls.

        Besides the calls on the wire, up to three times as many calls may wait for a retry or a rate limit.

        Args:
            requests: An iterable or async iterable of any length, of prompts, lists of messages, bodies,
                lines in OpenAI's batch format, `Request` objects, or objects with a `Request` as their
                attribute ``request``.
            answer: The type of the answers, as for `chat`, for requests that do not set one.
            max_in_flight: How many attempts of this map may be on the wire at the same time, within the
                client's limit (default: the current limit of the client's limiter).
            ordered: Yield outcomes in the order of the input (default: as they complete).
            buffer: How many finished outcomes may wait for the consumer while other items are sent (default:
                as many as may be in flight). With 0, nothing is sent while an outcome waits.
            stop_on: "shared_errors" stops the map at an error that all later calls would get, such as a
                rejected key, an unknown model or no credit left. It stops when three items have failed with
                that error and no call that began after the first failure has succeeded. It then reads no more
                requests, and raises the error after the outcomes of those it has read. By default, no error
                stops the map.

        Returns:
            The stream of outcomes; enter it with ``async with``, or use `OutcomeStream.each`.

        Raises:
            SettingsError: ``max_in_flight`` is below 1, ``buffer`` below 0, or ``stop_on`` is not valid.
            RequestError: ``answer`` is not a type that answers can have.
            Exception: An error of ``requests`` itself, after the outcomes of the items before it.

        Example:
            ```python
            async with client.map(f"Explain {word}" for word in words) as outcomes:
                async for outcome in outcomes:
                    print(outcome.reply.text if outcome.ok else outcome.error)
            ```
        """
        self._check_usable()
        check_map_arguments(requests, max_in_flight, buffer, stop_on, self.limiter)
        own_limiter = None if max_in_flight is None else PriorityCapacityLimiter(max_in_flight)
        work: Callable[[OutcomeStream[Any], int, Any], Awaitable[Outcome[Any]]] = functools.partial(
            self._outcome, own_limiter, None if answer is None else response_format_for(answer)
        )
        if stop_on is not None:
            from headrace.client.stop_on import StopOnSharedErrors  # imported late: few maps need it

            requests = stopping = StopOnSharedErrors(requests, work)
            work = stopping.work
        return OutcomeStream(
            requests, work, limiter=own_limiter or self.limiter, ordered=ordered, buffer=buffer
        )

    def respond(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Reply]:
        """Deprecated name of `responses`; removed in 0.3."""
        warnings.warn("use client.responses, not client.respond", DeprecationWarning, stacklevel=2)
        return self.responses(*args, **options)
