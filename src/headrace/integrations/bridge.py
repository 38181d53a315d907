"""A transport for both HTTP libraries that sends requests through headrace's pipeline."""

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
from headrace.integrations.call_factory import REDIRECTED_FROM, CallFactory
from headrace.integrations.detached_lifespans import DetachedLifespans
from headrace.integrations.error_translation import translate_error
from headrace.integrations.hybrid_transport import (
    HybridTransport,
    native_http2,
    native_ssl_context,
    proxy_url,
)
from headrace.integrations.streamed_body import PassthroughBody
from headrace.integrations.usage_counter import read_usage
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.attempt import status_error
from headrace.pipeline.pipeline import Pipeline, resolve_policies
from headrace.pipeline.plugin_manager import Plugins
from headrace.policies import Observer, Policy
from headrace.replies import Headers, Reply
from headrace.settings import load_settings

_BODY_CODING = frozenset({b"content-encoding", b"transfer-encoding"})
"""Response headers that describe how the body was sent, not what it contains."""

_HTTP_VERSION = "headrace.http_version"
"""Note of a call: the HTTP version of an error response."""


class BridgeTransport:
    """The part of a transport that both libraries share; see `headrace.integrations.httpx`.

    It opens with the first request, and opens again in another event loop. ``options`` are those of the
    library's own client, which makes the requests that the native transport cannot make: over SOCKS or https
    proxies.

    Raises `SettingsError` if a certificate cannot be loaded, if a proxy's URL is not valid, and if
    ``options`` ask for HTTP/2 without ngh2.
    """

    def __init__(
        self,
        library: ModuleType,
        stream: Callable[[PassthroughBody, Any], Any],
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
        self.policies: tuple[Policy, ...]
        self.policies, self._observers = resolve_policies(policies, observers, plugins, settings)
        if plugins is not None:
            settings.check_claimed()
        elif sections:
            raise SettingsError(
                f"{min(sections)}= has no effect together with policies=; pass it to the policy itself"
            )
        self._library = library
        self._stream = stream
        self._max_in_flight = max_in_flight
        self._max_bytes = settings.core.max_response_bytes
        self._options = dict(options)
        self._http2 = native_http2(options, settings.core.http2)
        self._ssl_context = native_ssl_context(library, options)
        proxy_url(library, options)
        self._call_factory = CallFactory(library)
        self._token: object = None
        self._lifespans: DetachedLifespans | None = None
        self._warn_on_retry = any(policy.name == "retry" for policy in self.policies)

    # Called by the library.

    @uninterrupted
    async def handle_async_request(self, request: Any) -> Any:
        """Perform a request of the library, and return its response. Raises the library's exceptions.

        Errors of policies (`CircuitOpen`, `BudgetExceeded`) are raised unchanged.
        """
        await self._open()
        call, is_retry = await self._call_factory.build(request, self._now, self._pipeline.notify)
        call.queue_timeout = request.extensions.get("timeout", {}).get("pool")
        if is_retry and self._warn_on_retry:
            self._warn_about_double_retries()
        body: PassthroughBody | None = None
        try:
            reply = await self._pipeline.perform(call)
            body = reply.stream if isinstance(reply.stream, PassthroughBody) else None
            if body is None and call.streamed:
                call.end(StreamResult(complete=True))
        except StatusError as error:
            reply = Reply(error.status, error.headers or Headers([]), error.body)
            reply.http_version = call.notes.get(_HTTP_VERSION, reply.http_version)
            if 300 <= error.status < 400:
                request.extensions.setdefault(REDIRECTED_FROM, call.endpoint.base_url)
            self._end_failed(call, error)
        except HeadraceError as error:
            self._end_failed(call, error)
            exception = translate_error(self._library, error, request)
            raise exception from (error.__cause__ if exception is error else error)
        except BaseException as error:
            self._end_failed(call, error)
            raise
        headers = [(name, value) for name, value in reply.headers.raw if name.lower() not in _BODY_CODING]
        if len(headers) != len(reply.headers.raw):
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        extensions = {"http_version": reply.http_version.encode()}
        if body is None:
            response = self._library.Response(
                reply.status, headers=headers, content=reply.content, extensions=extensions
            )
            # The library sets it when it closes a response, but this one is already closed.
            response.elapsed = timedelta(0, call.now() - call.started)
            return response
        return self._library.Response(
            reply.status, headers=headers, stream=self._stream(body, request), extensions=extensions
        )

    @uninterrupted
    async def aclose(self) -> None:
        """Close all connections, and stop the policies' background tasks."""
        lifespans, self._lifespans = self._lifespans, None
        if lifespans is not None and anyio.lowlevel.current_token() == self._token:
            self._pipeline.closed = "the client was closed while requests were in flight"
            await lifespans.aclose()
        self._token = None

    # Internal.

    async def _open(self) -> None:
        """Create everything that belongs to an event loop, once per event loop."""
        token = anyio.lowlevel.current_token()
        if token != self._token or self._lifespans is None:
            protect_from_interrupts()
            self._token = token
            self._now = running_clock()
            self._transport = HybridTransport(
                self._library,
                self._options,
                self._ssl_context,
                self._http2,
                self._max_in_flight,
                self._max_bytes,
            )
            limiter = PriorityCapacityLimiter(self._max_in_flight)
            self._pipeline = Pipeline(self.policies, self._observers, limiter, self._attempt)
            self._lifespans = DetachedLifespans(self._pipeline.components(self._transport))
        await self._lifespans.open()

    async def _attempt(self, call: Call) -> Reply:
        """The innermost step, like `headrace.pipeline.attempt` for a client."""
        call.attempts += 1
        reply = await self._transport.send(call)
        if not 200 <= reply.status < 300:
            call.notes[_HTTP_VERSION] = reply.http_version  # the error does not have it
            raise status_error(call, reply)
        if reply.stream is not None:
            reply.stream = await PassthroughBody.begin(call, reply, reply.stream, self._max_bytes)
        else:
            read_usage(reply)  # nothing else, because the caller reads the rest
        return reply

    def _end_failed(self, call: Call, error: BaseException) -> None:
        if call.streamed:
            call.end(StreamResult(error=error))

    def _warn_about_double_retries(self) -> None:
        self._warn_on_retry = False
        warnings.warn(
            "the SDK retries a request that headrace's retry policy has already retried; "
            "pass max_retries=0 to the SDK, or remove the policy",
            RuntimeWarning,
            stacklevel=2,
        )


class BridgeStream:
    """The part of a response stream that both libraries share."""

    library: ClassVar[ModuleType]

    def __init__(self, body: PassthroughBody, request: Any) -> None:
        self._body = body
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @uninterrupted
    async def __anext__(self) -> bytes:
        try:
            part = await self._body.next()
        except HeadraceError as error:
            raise translate_error(self.library, error, self._request) from error
        if not part:
            raise StopAsyncIteration
        return part

    @uninterrupted
    async def aclose(self) -> None:
        """Close the stream."""
        await self._body.aclose()
