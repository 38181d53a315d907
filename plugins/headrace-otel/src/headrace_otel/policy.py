"""The policy that traces and measures calls, by the conventions for generative AI."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from opentelemetry import context, metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, TracerProvider

from headrace import Call, Event, Reply, Send, Stage, StreamResult
from headrace_otel.attributes import error_type
from headrace_otel.call_span import CallSpan
from headrace_otel.conventions import Conventions, select_conventions
from headrace_otel.instruments import CallResult, Instruments, ReleasedInstruments
from headrace_otel.latest_instruments import LatestInstruments
from headrace_otel.span_target import SpanTarget, span_target

_log = logging.getLogger("headrace.otel")

_DISTRIBUTION = "headrace-otel"
_CACHED_TARGETS = 512
"""How many combinations of path, model and endpoint are cached."""

FLUSH_TIMEOUT = 5.0
"""Longest time in seconds that closing a client waits for the export of its telemetry."""


@attrs.define(eq=False, kw_only=True)
class Otel:
    """Traces and measures calls through OpenTelemetry's API; without an SDK it does almost nothing.

    Names are those of the released conventions, or of the latest ones if the environment variable
    ``OTEL_SEMCONV_STABILITY_OPT_IN`` contains ``gen_ai_latest_experimental`` when the policy is made.

    The span is current while the call is made, so spans of inner code are its children. The span of a stream
    is current until its first chunk, and ends with the stream. When a client closes, its providers are
    flushed, for 5 seconds at most. Errors of OpenTelemetry are logged once, under ``headrace.otel``, and fail
    no call.

    Args:
        traces: Record a span for each call, with retries and other events (default True).
        metrics: Record duration, tokens, cost, retries and calls in flight (default True).
        content: Also record prompts, answers and texts that quote them (default False).
        tracer_provider: Used instead of the global one, which may be set after the client is made.
        meter_provider: The same for metrics.
    """

    name = "otel"
    stage = Stage.OBSERVE

    traces: bool = True
    metrics: bool = True
    content: bool = False
    tracer_provider: TracerProvider | None = attrs.field(default=None, repr=False)
    meter_provider: MeterProvider | None = attrs.field(default=None, repr=False)
    _conventions: Conventions = attrs.field(init=False, repr=False)
    _tracer: Tracer = attrs.field(init=False, repr=False)
    _instruments: Instruments = attrs.field(init=False, repr=False)
    _target: Callable[..., SpanTarget] = attrs.field(init=False, repr=False)
    _error_logged: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        version = importlib.metadata.version(_DISTRIBUTION)
        self._conventions = conventions = select_conventions(os.environ)
        self._tracer = trace.get_tracer(_DISTRIBUTION, version, self.tracer_provider, conventions.schema_url)
        meter = metrics.get_meter(_DISTRIBUTION, version, self.meter_provider, conventions.schema_url)
        self._instruments = LatestInstruments(meter) if conventions.is_latest else ReleasedInstruments(meter)
        self._target = functools.lru_cache(_CACHED_TARGETS)(span_target)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with traces and metrics, or ``send`` itself if both are off."""
        if not (self.traces or self.metrics):
            return send

        async def observe(call: Call) -> Reply:
            call_span = self._begin(call)
            if call_span is None:
                return await send(call)
            try:
                if call_span.span.get_span_context().is_valid:
                    token = context.attach(trace.set_span_in_context(call_span.span))
                    try:
                        reply = await send(call)
                    finally:
                        context.detach(token)
                else:
                    reply = await send(call)
            except BaseException as error:
                self._end(call_span, getattr(error, "partial", None), error)
                raise
            if call.streamed:
                call_span.first_chunk = call.now() - call.started
                call.add_done_callback(functools.partial(self._end_of_stream, call_span, reply))
            else:
                self._end(call_span, reply)
            return reply

        return observe

    @asynccontextmanager
    async def lifespan(self, group: object) -> AsyncIterator[None]:
        """Flush the providers at the end of the block, for at most `FLUSH_TIMEOUT` seconds."""
        try:
            yield
        finally:
            flushes = self._flushes()
            if flushes:
                with anyio.move_on_after(FLUSH_TIMEOUT, shield=True):
                    await anyio.to_thread.run_sync(
                        self._flush, flushes, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
                    )

    def _flushes(self) -> list[Callable[[int], object]]:
        """Return the flush functions of the providers; without an SDK there are none."""
        providers: list[object] = []
        if self.traces:
            providers.append(self.tracer_provider or trace.get_tracer_provider())
        if self.metrics:
            providers.append(self.meter_provider or metrics.get_meter_provider())
        found = [getattr(provider, "force_flush", None) for provider in providers]
        return [flush for flush in found if flush is not None]

    def _flush(self, flushes: list[Callable[[int], object]]) -> None:
        for flush in flushes:
            self._safely(flush, int(FLUSH_TIMEOUT * 1000))

    def notify(self, event: Event) -> None:
        """Add the events of other policies to the call's span, and count retries."""
        call_span = event.call.notes.get(self.name)
        if isinstance(call_span, CallSpan):
            self._safely(call_span.record_event, event.name, event.data)
            if self.metrics and event.name == "retry":
                self._safely(self._instruments.call_retried, call_span.target, event.data.get("error"))

    def _begin(self, call: Call) -> CallSpan | None:
        """Start the span and the metrics of a call."""
        request = call.request
        target: SpanTarget | None = self._safely(
            self._target, call.endpoint, request.method, request.path, request.model
        )
        if target is None:
            return None
        span = (self._safely(self._start, target) if self.traces else None) or INVALID_SPAN
        call_span = call.notes[self.name] = CallSpan(call, target, span, self.content, self._conventions)
        if span.is_recording():
            self._safely(call_span.record_request)
        if self.metrics:
            self._safely(self._instruments.call_started, target)
        return call_span

    def _start(self, target: SpanTarget) -> Span:
        return self._tracer.start_span(target.span_name, kind=SpanKind.CLIENT, attributes=target.attributes)

    def _end_of_stream(self, call_span: CallSpan, reply: Reply, result: StreamResult) -> None:
        """End the span of a stream."""
        self._end(call_span, reply, result.error, left_early=not result.complete and result.error is None)

    def _end(
        self,
        call_span: CallSpan,
        reply: Reply | None,
        error: BaseException | None = None,
        *,
        left_early: bool = False,
    ) -> None:
        """End the span and record the metrics; called once per call."""
        call, span, begun = call_span.call, call_span.span, call_span.target
        call.notes.pop(self.name, None)  # breaks a reference cycle
        request = call.request
        if call.endpoint is not call_span.endpoint or request.model != call_span.model:
            # An inner policy has selected another endpoint or model.
            target = self._safely(self._target, call.endpoint, request.method, request.path, request.model)
            self._safely(call_span.change_target, target or begun)
        error_kind = None if error is None else error_type(call, error)
        if self.metrics:
            end = CallResult(
                seconds=call.now() - call.started,
                reply=reply,
                model=self._safely(call_span.model_of, reply),
                error_type=error_kind,
                first_chunk=call_span.first_chunk,
            )
            self._safely(self._instruments.call_finished, begun)
            self._safely(self._instruments.record, call_span.target, end)
        if span.is_recording():
            self._safely(call_span.record_reply, reply, left_early)
            if error is not None and error_kind is not None:
                self._safely(call_span.record_error, error, error_kind)
        self._safely(span.end)

    def _safely(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; return None if it raises: telemetry must not fail a call."""
        try:
            return function(*arguments)
        except Exception:
            if not self._error_logged:
                self._error_logged = True
                _log.exception("OpenTelemetry raised an error; further errors are not logged")
            return None
