"""Every span ends exactly once, and errors of OpenTelemetry fail no call."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, NoOpMeter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider, sampling

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_otel import Otel
from telemetry import Telemetry

CUT = b'data: {"choices":[{"delta":{"content":"It all"}}]}\n\n'
STEPS: dict[str, str | int | Answer | Exception] = {
    "ok": "one two three",
    "refused": 400,
    "retried": 503,
    "cut": Answer(body=CUT),
    "slow": Answer(delay=60),
    "defect": ValueError("bug"),
    "no answer": Answer(body=b"<html>"),
}
ENDS = ["read", "left early", "cancelled", "failed"]


class SpanCounter(SpanProcessor):
    """Counts spans that start and end."""

    def __init__(self) -> None:
        self.open: list[object] = []
        self.begun = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.begun += 1
        self.open.append(span.get_span_context())

    def on_end(self, span: ReadableSpan) -> None:
        self.open.remove(span.get_span_context())


async def make_call(client: headrace.Client, kind: str, end: str) -> None:
    with anyio.move_on_after(0.005 if kind == "slow" else 5) as scope:
        try:
            if end == "read" and kind != "cut":
                await client.chat("Hallo")
                return
            async with client.stream("Hallo") as stream:
                async for _ in stream:
                    if end == "left early":
                        break
                    if end == "cancelled":
                        scope.cancel()
                        await anyio.sleep(60)
                    if end == "failed":
                        raise KeyError("the application's own")
        except (headrace.CallError, KeyError):
            pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=40, deadline=None)
@given(plan=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(ENDS)), max_size=12))
def test_every_span_ends_once(backend: str, plan: list[tuple[str, str]]) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    telemetry, counter = Telemetry(), SpanCounter()
    telemetry.tracers.add_span_processor(counter)

    async def main() -> None:
        for kind, end in plan:
            endpoint = FakeEndpoint(STEPS[kind])
            async with endpoint.client([telemetry.policy(), Retry(attempts=2, base=0)]) as client:
                await make_call(client, kind, end)

    anyio.run(main, backend=backend)
    assert counter.open == []
    assert counter.begun == len(plan) == len(telemetry.spans)
    assert all(point.value == 0 for point in telemetry.points().get("headrace.client.in_flight", ()))
    telemetry.shutdown()


class BrokenProcessor(SpanProcessor):
    """A span processor that raises at the start or the end of a span."""

    def __init__(self, where: str) -> None:
        self._where = where

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self._where == "start":
            raise RuntimeError("broken")

    def on_end(self, span: ReadableSpan) -> None:
        if self._where == "end":
            raise RuntimeError("broken")


class BrokenMeters(MeterProvider):
    """A meter provider whose instruments raise."""

    def get_meter(self, name: str, *arguments: Any, **options: Any) -> NoOpMeter:
        class Meter(NoOpMeter):
            def create_histogram(self, name: str, *arguments: Any, **options: Any) -> Any:
                return self

            create_counter = create_up_down_counter = create_histogram

            def record(self, *arguments: Any) -> None:
                raise RuntimeError("broken")

            add = record

        return Meter(name)


class BrokenSampler(sampling.Sampler):
    def should_sample(self, *arguments: Any, **options: Any) -> sampling.SamplingResult:
        raise RuntimeError("broken")

    def get_description(self) -> str:
        return "broken"


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["sampler", "start", "end", "meters"])
async def test_errors_of_opentelemetry_fail_no_call(where: str, caplog: pytest.LogCaptureFixture) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    tracers = TracerProvider(sampler=BrokenSampler() if where == "sampler" else sampling.ALWAYS_ON)
    tracers.add_span_processor(BrokenProcessor(where))
    meters = BrokenMeters() if where == "meters" else None
    async with FakeEndpoint("ok", 503, "ok").client(
        [Otel(tracer_provider=tracers, meter_provider=meters), Retry(base=0)]
    ) as client:
        for _ in range(2):
            assert (await client.chat("Hallo")).text == "ok"
        async with client.stream("Hallo") as stream:
            assert [chunk.text async for chunk in stream] == ["ok"]
    errors = [record for record in caplog.records if record.name == "headrace.otel"]
    assert len(errors) == 1, "logged once, not per call"
    tracers.shutdown()


@pytest.mark.anyio
async def test_without_an_sdk_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    async with FakeEndpoint(503, "ok").client([Otel(), Retry(base=0)]) as client:
        assert (await client.chat("Hallo")).text == "ok"
        async with client.stream("Hallo") as stream:
            [_ async for _ in stream]
    assert caplog.records == []
