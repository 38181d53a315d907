"""Makes calls from requests and runs them through the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio.lowlevel
from anyio.lowlevel import checkpoint

from headrace._support.text import nearest
from headrace.calls import Call, Outcome, Request, StreamResult, Timeout
from headrace.client.api_methods import ApiMethods
from headrace.client.map import OutcomeStream
from headrace.endpoint import Endpoint
from headrace.errors import ClientStateError, HeadraceError, RequestError
from headrace.limiter_tokens import Limiter
from headrace.pipeline.chunk_reader import streamed_request
from headrace.pipeline.pipeline import Pipeline
from headrace.replies import Reply
from headrace.wire.request_bodies import RequestLike, as_request, encode_request
from headrace.wire.structured_output import ResponseFormat

_MAX_MODELS = 1000
"""For how many models the endpoints that serve them are remembered."""


class CallRunner(ApiMethods):
    """The part of a `Client` that runs calls; the client sets its attributes."""

    _pipeline: Pipeline
    _endpoints: tuple[Endpoint, ...]
    _timeout: Timeout
    _token: object
    _any_model: bool
    _endpoints_by_model: dict[str | None, tuple[Endpoint, ...]]

    async def _outcome(
        self,
        limiter: Limiter | None,
        answer: ResponseFormat | None,
        stream: OutcomeStream[Any],
        index: int,
        item: RequestLike,
    ) -> Outcome:
        """Make the call for an item of a map."""
        try:
            if self._pipeline.closed:
                self._check_usable()
            request = as_request(item, self._settings.model, answer)
            call = self._call(request)
        except HeadraceError as error:
            await checkpoint()
            return Outcome(index, item if isinstance(item, Request) else None, None, error, item=item)
        call.priority -= 1  # single calls go first
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
        if not self._any_model:
            endpoints = self._endpoints_by_model.get(request.model) or self._endpoints_for(request.model)
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
        """The endpoints that serve a model."""
        endpoints = tuple([endpoint for endpoint in self._endpoints if endpoint.serves(model)])
        if not endpoints:
            known = {name for endpoint in self._endpoints for name in endpoint.models or ()}
            raise RequestError(f"no endpoint has the model {model!r}; {nearest(str(model), known)}")
        if len(self._endpoints_by_model) < _MAX_MODELS:
            self._endpoints_by_model[model] = endpoints
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
