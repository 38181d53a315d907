"""Telemetry is exported when a client closes."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import attrs
import pytest

from headrace.testing import FakeEndpoint
from headrace_otel import Otel, policy
from telemetry import Telemetry, attributes


@attrs.define
class FlushRecorder:
    """A provider that records when it is flushed."""

    inner: Any
    timeouts: list[float] = attrs.field(factory=list)
    threads: list[threading.Thread] = attrs.field(factory=list)

    def force_flush(self, timeout_millis: float) -> bool:
        self.timeouts.append(timeout_millis)
        self.threads.append(threading.current_thread())
        return bool(self.inner.force_flush(timeout_millis))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.anyio
@pytest.mark.parametrize("settings", [{}, {"traces": False}, {"metrics": False}], ids=str)
async def test_closing_a_client_flushes_the_providers_it_uses(
    telemetry: Telemetry, settings: dict[str, bool]
) -> None:
    tracers: Any = FlushRecorder(telemetry.tracers)
    meters: Any = FlushRecorder(telemetry.meters)
    otel = Otel(tracer_provider=tracers, meter_provider=meters, **settings)
    async with FakeEndpoint().client([otel]) as client:
        await client.chat("?")
        assert tracers.timeouts == meters.timeouts == []
    assert tracers.timeouts == ([5000] if otel.traces else [])
    assert meters.timeouts == ([5000] if otel.metrics else [])
    assert threading.current_thread() not in tracers.threads + meters.threads


@pytest.mark.anyio
async def test_providers_are_flushed_when_the_block_is_cancelled(telemetry: Telemetry) -> None:
    tracers = FlushRecorder(telemetry.tracers)
    with anyio.CancelScope() as scope:
        async with FakeEndpoint().client([telemetry.policy(tracer_provider=tracers)]):
            scope.cancel()
            await anyio.sleep(60)
    assert tracers.timeouts == [5000]


@pytest.mark.anyio
async def test_a_hanging_flush_is_abandoned(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FLUSH_TIMEOUT", 0.01)
    begun, end = threading.Event(), threading.Event()

    class HangingProvider(FlushRecorder):
        def force_flush(self, timeout_millis: float) -> bool:
            begun.set()
            return end.wait(10)

    try:
        with anyio.fail_after(5):
            async with FakeEndpoint().client(
                [telemetry.policy(tracer_provider=HangingProvider(telemetry.tracers))]
            ):
                pass
        assert begun.is_set()
    finally:
        end.set()


@pytest.mark.anyio
async def test_a_failing_flush_is_only_logged(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    class FailingProvider(FlushRecorder):
        def force_flush(self, timeout_millis: float) -> bool:
            raise OSError("no collector")

    with caplog.at_level(logging.ERROR, "headrace.otel"):
        async with FakeEndpoint().client(
            [telemetry.policy(tracer_provider=FailingProvider(telemetry.tracers))]
        ) as client:
            await client.chat("?")
    assert "no collector" in caplog.text


@pytest.mark.anyio
async def test_without_an_sdk_there_is_nothing_to_flush() -> None:
    otel = Otel()
    assert otel._flushes() == []
    async with FakeEndpoint().client([otel]) as client:
        await client.chat("?")


@pytest.mark.anyio
async def test_a_span_has_the_queue_time_of_its_call(telemetry: Telemetry) -> None:
    limiter_held = FakeEndpoint()
    async with limiter_held.client([telemetry.policy()], max_in_flight=1) as client:
        await client.chat("?")
        async with anyio.create_task_group() as group, client.stream("holds the token") as stream:
            group.start_soon(client.chat, "waits")
            await anyio.sleep(0.02)
            async for _ in stream:
                pass
    first, _, waited = telemetry.spans
    assert "headrace.queued" not in attributes(first)
    assert attributes(waited)["headrace.queued"] >= 0.01
