"""What both HTTP libraries are given: a transport that makes its requests through headrace's pipeline."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import anyio
import anyio.lowlevel

from headrace._support.clock import running_clock
from headrace._support.interrupts import protect_from_interrupts, uninterrupted
from headrace.calls import Call, StreamResult
from headrace.errors import HeadraceError, SettingsError, StatusError
from headrace.integrations.call_factory import REDIRECTED_FROM, Calls
from headrace.integrations.detached_lifespans import LifespansWithoutBlock
from headrace.integrations.error_translation import translated
from headrace.integrations.hybrid_transport import (
    EitherTransport,
    named_proxy,
    native_http2,
    native_ssl_context,
)
from headrace.integrations.streamed_body import PassedBody
from headrace.integrations.usage_counter import count_whole
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.attempt import status_error
from headrace.pipeline.pipeline import Pipeline, resolve_policies
from headrace.pipeline.plugin_manager import Plugins
from headrace.policies import Observer, Policy
from headrace.replies import Headers, Reply
from headrace.settings import load_settings

_UNDONE = frozenset({b"content-encoding", b"transfer-encoding"})
"""Headers of an answer that say how its body was sent, and not what it is."""

_SPOKEN = "headrace.http_version"
"""Note of a call: the version of HTTP that the answer came over whose status is an error's."""


class Bridge:
    """The part of a transport that is the same for both libraries; see `headrace.integrations.httpx`.

    It opens with the first request, in the event loop that makes it, and again in another one. ``options``
    are those of the library's own client, which makes the requests that the native transport cannot: over a
    proxy of SOCKS or https.

    Raises `SettingsError` for a certificate that cannot be loaded, for what is not the URL of a proxy, and
    where ``options`` ask for HTTP/2 and it is not installed.
    """

    def __init__(
        self,
        library: ModuleType,
        stream: Callable[[PassedBody, Any], Any],
        *,
        policies: Iterable[Policy] | None,
        observers: Iterable[Observer],
        max_in_flight: int,
        options: Mapping[str, Any],
        sections: Mapping[str, Any],
    ) -> None:
        if max_in_flight < 1:
            raise SettingsError(f"max_in_flight={max_in_flight}: must be at least 1")
        settings = load_settings(dict(sections))
        plugins = Plugins() if policies is None else None
        self.policies, self._observers = resolve_policies(policies, observers, plugins, settings)
        if plugins is not None:
            settings.check_claimed()
        elif sections:
            raise SettingsError(
                f"{min(sections)}= has no effect beside policies=; give it to the policy itself"
            )
        self._library = library
        self._stream = stream
        self._max_in_flight = max_in_flight
        self._max_bytes = settings.core.max_response_bytes
        self._options = dict(options)
        self._http2 = native_http2(options, settings.core.http2)
        self._ssl_context = native_ssl_context(library, options)
        named_proxy(library, options)
        self._calls = Calls(library)
        self._token: object = None
        self._lifespans: LifespansWithoutBlock | None = None
        self._multiplies = any(policy.name == "retry" for policy in self.policies)

    # What the library calls.

    @uninterrupted
    async def handle_async_request(self, request: Any) -> Any:
        """Perform a request of the library's, and give the response; raises the library's exceptions.

        What a policy refuses (`CircuitOpen`, `BudgetExceeded`) is raised as it is.
        """
        await self._open()
        call, is_retry = await self._calls.of(request, self._now, self._pipeline.notify)
        call.queue_timeout = request.extensions.get("timeout", {}).get("pool")
        if is_retry and self._multiplies:
            self._warn_of_two_retries()
        body: PassedBody | None = None
        try:
            reply = await self._pipeline.perform(call)
            body = reply.stream if isinstance(reply.stream, PassedBody) else None
            if body is None and call.streamed:
                call.end(StreamResult(complete=True))
        except StatusError as error:
            reply = Reply(error.status, error.headers or Headers([]), error.body)
            reply.http_version = call.notes.get(_SPOKEN, reply.http_version)
            if 300 <= error.status < 400:
                request.extensions.setdefault(REDIRECTED_FROM, call.endpoint.base_url)
            self._end_failed(call, error)
        except HeadraceError as error:
            self._end_failed(call, error)
            exception = translated(self._library, error, request)
            raise exception from (error.__cause__ if exception is error else error)
        except BaseException as error:
            self._end_failed(call, error)
            raise
        headers = [(name, value) for name, value in reply.headers.raw if name.lower() not in _UNDONE]
        if len(headers) != len(reply.headers.raw):
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        extensions = {"http_version": reply.http_version.encode()}
        if body is None:
            response = self._library.Response(
                reply.status, headers=headers, content=reply.content, extensions=extensions
            )
            # The library's own clock stops when it closes a response, and this one is closed already.
            response.elapsed = timedelta(0, call.now() - call.started)
            return response
        return self._library.Response(
            reply.status, headers=headers, stream=self._stream(body, request), extensions=extensions
        )

    @uninterrupted
    async def aclose(self) -> None:
        """Drop all connections, and end what policies have in the background."""
        lifespans, self._lifespans = self._lifespans, None
        if lifespans is not None and anyio.lowlevel.current_token() == self._token:
            self._pipeline.closed = "the client was closed while requests were in flight"
            await lifespans.aclose()
        self._token = None

    # What it is made of.

    async def _open(self) -> None:
        """Make what belongs to an event loop, unless it is there for this one."""
        token = anyio.lowlevel.current_token()
        if token != self._token or self._lifespans is None:
            protect_from_interrupts()
            self._token = token
            self._now = running_clock()
            self._transport = EitherTransport(
                self._library,
                self._options,
                self._ssl_context,
                self._http2,
                self._max_in_flight,
                self._max_bytes,
            )
            limiter = PriorityCapacityLimiter(self._max_in_flight)
            self._pipeline = Pipeline(self.policies, self._observers, limiter, self._attempt)
            self._lifespans = LifespansWithoutBlock(self._pipeline.parts(self._transport))
        await self._lifespans.open()

    async def _attempt(self, call: Call) -> Reply:
        """The innermost step, as `headrace.pipeline.attempt` is that of a client."""
        call.attempts += 1
        reply = await self._transport.send(call)
        if not 200 <= reply.status < 300:
            call.notes[_SPOKEN] = reply.http_version  # which the error does not tell
            raise status_error(call, reply)
        if reply.stream is not None:
            reply.stream = await PassedBody.begin(call, reply, reply.stream, self._max_bytes)
        else:
            count_whole(reply)  # and no more: the caller knows what it asked for
        return reply

    def _end_failed(self, call: Call, error: BaseException) -> None:
        if call.streamed:
            call.end(StreamResult(error=error))

    def _warn_of_two_retries(self) -> None:
        self._multiplies = False
        warnings.warn(
            "the SDK retries what headrace's retry policy has given up; "
            "pass max_retries=0 to the SDK, or leave the policy out",
            RuntimeWarning,
            stacklevel=2,
        )


class BridgedStream:
    """The part of a response's stream that is the same for both libraries."""

    library: ClassVar[ModuleType]

    def __init__(self, body: PassedBody, request: Any) -> None:
        self._body = body
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @uninterrupted
    async def __anext__(self) -> bytes:
        try:
            part = await self._body.next()
        except HeadraceError as error:
            raise translated(self.library, error, self._request) from error
        if not part:
            raise StopAsyncIteration
        return part

    @uninterrupted
    async def aclose(self) -> None:
        """Be done with it."""
        await self._body.aclose()
