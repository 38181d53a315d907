"""The policy that traces and measures calls: spans and metrics by the conventions for generative AI."""

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
from headrace_otel.conventions import Conventions, conventions_of
from headrace_otel.instruments import Ended, Instruments, ReleasedInstruments
from headrace_otel.latest_instruments import LatestInstruments
from headrace_otel.observation import Observation
from headrace_otel.target import Target, target_of

_log = logging.getLogger("headrace.otel")

_DISTRIBUTION = "headrace-otel"
_TARGETS = 512
"""So many combinations of path, model and endpoint are remembered."""

FLUSH_TIMEOUT = 5.0
"""Seconds that the end of a client waits at most until what it has recorded is exported."""


@attrs.define(eq=False, kw_only=True)
class Otel:
    """Traces and measures calls through OpenTelemetry's API; without an SDK it does next to nothing.

    ``traces``: a span for each call, its retries and the like as events (default True). ``metrics``:
    duration, tokens, cost, retries, calls in flight (default True). ``content``: record prompts, answers and
    what quotes from them as well (default False). ``tracer_provider``, ``meter_provider``: in place of the
    global ones, which may be set after the client is made.

    Names are those of the released conventions, or of the latest ones where the environment's
    ``OTEL_SEMCONV_STABILITY_OPT_IN`` holds ``gen_ai_latest_experimental`` as the policy is made.

    The span is current while the call is made, so that what is traced further in lies within it; a stream's
    only until its first piece, though it ends with the stream. When a client ends, its providers are flushed,
    for 5 seconds at most. What OpenTelemetry raises is logged once,
    under ``headrace.otel``, and fails no call.
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
    _target: Callable[..., Target] = attrs.field(init=False, repr=False)
    _complained: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        version = importlib.metadata.version(_DISTRIBUTION)
        self._conventions = chosen = conventions_of(os.environ)
        self._tracer = trace.get_tracer(_DISTRIBUTION, version, self.tracer_provider, chosen.schema_url)
        meter = metrics.get_meter(_DISTRIBUTION, version, self.meter_provider, chosen.schema_url)
        self._instruments = LatestInstruments(meter) if chosen.is_latest else ReleasedInstruments(meter)
        self._target = functools.lru_cache(_TARGETS)(target_of)

    def wrap(self, send: Send) -> Send:
        """``send``, traced and measured; ``send`` itself where neither is wanted."""
        if not (self.traces or self.metrics):
            return send

        async def observe(call: Call) -> Reply:
            seen = self._begin(call)
            if seen is None:
                return await send(call)
            try:
                if seen.span.get_span_context().is_valid:
                    token = context.attach(trace.set_span_in_context(seen.span))
                    try:
                        reply = await send(call)
                    finally:
                        context.detach(token)
                else:
                    reply = await send(call)
            except BaseException as error:
                self._end(seen, getattr(error, "partial", None), error)
                raise
            if call.streamed:
                seen.first = call.now() - call.started
                call.add_done_callback(functools.partial(self._end_of_stream, seen, reply))
            else:
                self._end(seen, reply)
            return reply

        return observe

    @asynccontextmanager
    async def lifespan(self, group: object) -> AsyncIterator[None]:
        """At its end, what was recorded is exported, as far as that is done in `FLUSH_TIMEOUT` seconds."""
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
        """How the providers are flushed; those of the API alone have nothing to flush."""
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
        """Add what other policies tell of to the call's span; count retries."""
        seen = event.call.notes.get(self.name)
        if isinstance(seen, Observation):
            self._safely(seen.happened, event.name, event.data)
            if self.metrics and event.name == "retry":
                self._safely(self._instruments.retried, seen.target, event.data.get("error"))

    def _begin(self, call: Call) -> Observation | None:
        request = call.request
        target: Target | None = self._safely(
            self._target, call.endpoint, request.method, request.path, request.model
        )
        if target is None:
            return None
        span = (self._safely(self._start, target) if self.traces else None) or INVALID_SPAN
        seen = call.notes[self.name] = Observation(call, target, span, self.content, self._conventions)
        if span.is_recording():
            self._safely(seen.asked)
        if self.metrics:
            self._safely(self._instruments.begun, target)
        return seen

    def _start(self, target: Target) -> Span:
        return self._tracer.start_span(target.span_name, kind=SpanKind.CLIENT, attributes=target.attributes)

    def _end_of_stream(self, seen: Observation, reply: Reply, result: StreamResult) -> None:
        self._end(seen, reply, result.error, left_early=not result.complete and result.error is None)

    def _end(
        self,
        seen: Observation,
        reply: Reply | None,
        error: BaseException | None = None,
        *,
        left_early: bool = False,
    ) -> None:
        """Once for each call that began."""
        call, span, begun = seen.call, seen.span, seen.target
        call.notes.pop(self.name, None)  # a cycle, for the garbage collector
        request = call.request
        if call.endpoint is not seen.endpoint or request.model != seen.model:
            # A policy further in has chosen another endpoint, or another model.
            target = self._safely(self._target, call.endpoint, request.method, request.path, request.model)
            self._safely(seen.went_to, target or begun)
        kind = None if error is None else error_type(call, error)
        if self.metrics:
            end = Ended(
                seconds=call.now() - call.started,
                reply=reply,
                model=self._safely(seen.model_of, reply),
                error_type=kind,
                first=seen.first,
            )
            self._safely(self._instruments.over, begun)
            self._safely(self._instruments.ended, seen.target, end)
        if span.is_recording():
            self._safely(seen.answered, reply, left_early)
            if error is not None and kind is not None:
                self._safely(seen.failed, error, kind)
        self._safely(span.end)

    def _safely(self, do: Callable[..., Any], *arguments: Any) -> Any:
        """What ``do`` returns, None where it raises: who watches must not fail what is watched."""
        try:
            return do(*arguments)
        except Exception:
            if not self._complained:
                self._complained = True
                _log.exception("OpenTelemetry raised; what it raises from now on is not logged")
            return None
