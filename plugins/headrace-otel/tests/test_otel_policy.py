"""Spans of calls: their attributes, when they end, and which span is current."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace import SpanKind, StatusCode

import headrace
from headrace import Endpoint
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace_otel import Otel
from telemetry import Telemetry, attributes

CUT = b'data: {"id":"c","choices":[{"delta":{"content":"It all began when"}}]}\n\n'


@pytest.mark.anyio
async def test_otel_fulfils_the_policy_contract(telemetry: Telemetry) -> None:
    await check_policy_contract(telemetry.policy)
    await check_policy_contract(Otel)
    await check_policy_contract(lambda: Otel(traces=False, metrics=False))


def test_without_traces_and_metrics_there_is_no_wrapper() -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Otel(traces=False, metrics=False).wrap(send) is send


@pytest.mark.anyio
async def test_the_span_of_a_successful_call(telemetry: Telemetry) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices={"gpt-4.1": {"input": 1, "output": 2}})
    endpoint = FakeEndpoint(Answer(prompt_tokens=10, cached_tokens=4))
    async with endpoint.client([telemetry.policy(), cost], model="gpt-4.1") as client:
        await client.chat(
            "Hallo",
            id="7",
            temperature=0,
            top_p=0.5,
            max_completion_tokens=100,
            seed=7,
            stop=["a", "b"],
            frequency_penalty=1,
            presence_penalty=-1,
            n=2,
            response_format={"type": "json_object"},
        )
    span = telemetry.span
    assert (span.name, span.kind, span.parent) == ("chat gpt-4.1", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "headrace-otel"
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "server.address": "fake.test",
        "server.port": 80,
        "headrace.id": "7",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("a", "b"),
        "gen_ai.request.frequency_penalty": 1.0,
        "gen_ai.request.presence_penalty": -1.0,
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "json",
        "gen_ai.response.model": "gpt-4.1",
        "gen_ai.response.id": "chatcmpl-fake",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "headrace.attempts": 1,
        "headrace.cost_usd": 0.00002,
    }


@pytest.mark.anyio
async def test_encoded_and_unusual_bodies(telemetry: Telemetry) -> None:
    from headrace.wire.batch_lines import EncodedBody

    ready = EncodedBody(b'{"model":"m","messages":[],"temperature":0.5,"stop":"x","n":1}')
    odd: dict[str, Any] = {"model": "m", "temperature": "warm", "seed": True, "stop": 5, "n": None}
    endpoint = FakeEndpoint("a", "b", Answer(body=b"[1, 2]"))
    async with (
        endpoint.client([telemetry.policy()]) as client,
        client.map(
            [headrace.Request(ready), headrace.Request(odd), headrace.Request(None, "/models", "GET")],
            max_in_flight=1,
        ) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    first, second, third = map(attributes, telemetry.spans)
    assert first["gen_ai.request.temperature"] == 0.5
    assert first["gen_ai.request.stop_sequences"] == ("x",)
    assert not {name for name in second if name.startswith("gen_ai.request.")} - {"gen_ai.request.model"}
    assert third == {
        "gen_ai.operation.name": "models",
        "gen_ai.provider.name": "openai",
        "server.address": "fake.test",
        "server.port": 80,
        "headrace.attempts": 1,
    }


@pytest.mark.anyio
async def test_the_span_of_an_embeddings_call(telemetry: Telemetry) -> None:
    body = {"data": [{"index": 0, "embedding": [0.5]}], "model": "e", "usage": {"prompt_tokens": 3}}
    async with FakeEndpoint(Answer(body=body)).client([telemetry.policy()], model="e") as client:
        await client.request(
            "POST", "/embeddings", {"input": "x", "dimensions": 1, "encoding_format": "float"}
        )
    exported = attributes(telemetry.span)
    assert telemetry.span.name == "embeddings e"
    assert exported["gen_ai.embeddings.dimension.count"] == 1
    assert exported["gen_ai.request.encoding_formats"] == ("float",)
    assert exported["gen_ai.usage.input_tokens"] == 3
    assert "gen_ai.usage.output_tokens" not in exported


@pytest.mark.anyio
async def test_errors_have_a_type_and_a_status(telemetry: Telemetry) -> None:
    quoting = Answer(status=429, body={"error": {"message": "you exported: my secret", "code": "slow"}})
    refused = headrace.ConnectError("refused")
    endpoint = FakeEndpoint(quoting, refused, ValueError("my secret"), Answer(body=b"my secret"))
    async with endpoint.client([telemetry.policy()]) as client:
        for _ in range(4):
            with pytest.raises(headrace.CallError):
                await client.chat("Hallo")
    exported = [(attributes(span)["error.type"], span.status.description) for span in telemetry.spans]
    assert exported == [
        ("rate_limited", "status 429"),
        ("connect_error", "refused"),
        ("ValueError", None),
        ("invalid_reply", None),
    ]
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.ERROR}
    assert attributes(telemetry.spans[0])["http.response.status_code"] == 429
    assert "my secret" not in telemetry.everything()


@pytest.mark.anyio
async def test_a_cancelled_call_is_neither_an_error_nor_a_success(telemetry: Telemetry) -> None:
    async with FakeEndpoint(Answer(delay=60)).client([telemetry.policy()]) as client:
        with anyio.move_on_after(0.01):
            await client.chat("Hallo")
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert attributes(telemetry.span)["error.type"] == "cancelled"


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_exceeded_deadline_is_an_error(telemetry: Telemetry, streamed: bool) -> None:
    async with FakeEndpoint(Answer(delay=60)).client([telemetry.policy()]) as client:
        call = client.stream("Hallo", deadline=0.01).__aenter__() if streamed else None
        with pytest.raises(headrace.DeadlineExceeded):
            await (call or client.chat("Hallo", deadline=0.01))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert attributes(telemetry.span)["error.type"] == "deadline_exceeded"


@pytest.mark.anyio
async def test_events_of_other_policies_are_span_events(telemetry: Telemetry) -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    Repair = pytest.importorskip("headrace_repair").Repair
    Retry = pytest.importorskip("headrace_retry").Retry
    import attrs

    @attrs.define
    class Person:
        name: str

    endpoint = FakeEndpoint(503, "my secret", '{"name": "Ada"}')
    waits = Retry(base=0.05, jitter="none")
    policies: list[headrace.Policy] = [
        telemetry.policy(),
        waits,
        Breaker(consecutive=1, open_for=0.001, probes=1),
        Repair(),
    ]
    async with endpoint.client(policies) as client:
        await client.chat("Who?", answer=Person)
    events = {event.name: dict(event.attributes or {}) for event in telemetry.span.events}
    assert events["headrace.retry"] == {
        "headrace.retry.attempt": 1,
        "headrace.retry.delay": 0.05,
        "headrace.retry.error": "server_error",
        "headrace.retry.status": 503,
    }
    assert events["headrace.repair"] == {"headrace.repair.attempt": 1}, "what was wrong quotes the answer"
    assert events["headrace.circuit"]["headrace.circuit.endpoint"] == "http://fake.test/v1"
    assert attributes(telemetry.span)["headrace.attempts"] == 3
    assert telemetry.span.status.status_code is StatusCode.UNSET, "a retried error is none of the call's"


class InnerPolicy:
    """A policy that traces its own work, like an inner instrumentation."""

    name = "inner"
    stage = headrace.Stage.PACE

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracers.get_tracer("inner")

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def inner(call: headrace.Call) -> headrace.Reply:
            with self._tracer.start_as_current_span("inner"):
                return await send(call)

        return inner


@pytest.mark.anyio
async def test_the_server_is_the_one_that_answered(telemetry: Telemetry) -> None:
    Route = pytest.importorskip("headrace_route").Route
    first, second = Endpoint("http://first.test/v1", "sk-first"), Endpoint("http://second.test/v1")
    endpoint = FakeEndpoint(500, "ok")
    policies: list[headrace.Policy] = [telemetry.policy(), Route(by="order")]
    async with endpoint.client(policies, base_url=None, endpoints=[first, second]) as client:
        await client.chat("?")
    assert attributes(telemetry.span)["server.address"] == "second.test"
    assert [event.name for event in telemetry.span.events] == ["headrace.failover"]


@pytest.mark.anyio
async def test_spans_nest_between_outer_and_inner_spans(telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("application")
    async with FakeEndpoint().client([telemetry.policy(), InnerPolicy(telemetry)]) as client:
        with tracer.start_as_current_span("outer") as outer:
            await client.chat("Hallo")
            assert trace.get_current_span() is outer
    inner, call, _ = telemetry.spans
    assert inner.parent == call.get_span_context()
    assert call.parent == outer.get_span_context()


@pytest.mark.anyio
@pytest.mark.parametrize("each", [False, True])
async def test_calls_of_a_map_are_children_of_the_span_in_which_it_started(
    telemetry: Telemetry, each: bool
) -> None:
    tracer = telemetry.tracers.get_tracer("application")
    async with FakeEndpoint().client([telemetry.policy(), InnerPolicy(telemetry)]) as client:
        with tracer.start_as_current_span("outer") as outer:
            if each:
                await client.map(["Hallo"] * 20).each(lambda outcome: None)
            else:
                async with client.map(["Hallo"] * 20) as outcomes:
                    assert len([outcome async for outcome in outcomes]) == 20
    calls = [span for span in telemetry.spans if span.name.startswith("chat")]
    assert [span.parent for span in calls] == [outer.get_span_context()] * 20
    within = [span.parent for span in telemetry.spans if span.name == "inner"]
    assert within == [span.get_span_context() for span in calls], "each within its own call's"


@pytest.mark.anyio
async def test_inner_spans_of_an_unsampled_span_are_not_sampled(telemetry: Telemetry) -> None:
    off = TracerProvider(sampler=sampling.ALWAYS_OFF)
    policy = telemetry.policy(tracer_provider=off)
    async with FakeEndpoint().client([policy, InnerPolicy(telemetry)]) as client:
        await client.chat("Hallo")
    assert telemetry.spans == []
    off.shutdown()


@pytest.mark.anyio
async def test_the_span_of_a_stream_ends_with_the_stream(telemetry: Telemetry) -> None:
    endpoint = FakeEndpoint("one two three")
    async with endpoint.client([telemetry.policy()]) as client, client.stream("Hallo") as stream:
        await anext(stream)
        assert telemetry.spans == []
        assert not trace.get_current_span().get_span_context().is_valid
        assert [chunk.text async for chunk in stream] == [" two", " three"]
        first = stream.reply.time_to_first_token
    exported = attributes(telemetry.span)
    assert exported["gen_ai.request.stream"] is True
    assert exported["gen_ai.response.time_to_first_chunk"] == pytest.approx(first, abs=0.1)
    assert (exported["gen_ai.usage.output_tokens"], exported["gen_ai.response.finish_reasons"]) == (
        5,
        ("stop",),
    )
    assert "headrace.stream.left_early" not in exported


@pytest.mark.anyio
async def test_a_stream_left_early_is_not_an_error(telemetry: Telemetry) -> None:
    endpoint = FakeEndpoint("one two three")
    async with endpoint.client([telemetry.policy()]) as client, client.stream("Hallo") as stream:
        await anext(stream)
    exported = attributes(telemetry.span)
    assert exported["headrace.stream.left_early"] is True
    assert "error.type" not in exported
    assert telemetry.span.status.status_code is StatusCode.UNSET


@pytest.mark.anyio
async def test_a_broken_stream_is_an_error(telemetry: Telemetry) -> None:
    async with FakeEndpoint(Answer(body=CUT)).client([telemetry.policy()]) as client:
        with pytest.raises(headrace.IncompleteReply):
            async with client.stream("Hallo") as stream:
                [_ async for _ in stream]
    assert attributes(telemetry.span)["error.type"] == "incomplete_reply"
    assert telemetry.span.status.status_code is StatusCode.ERROR


@pytest.mark.anyio
async def test_the_span_of_a_cancelled_stream(telemetry: Telemetry) -> None:
    async with FakeEndpoint("one two").client([telemetry.policy()]) as client:
        with anyio.CancelScope() as scope:
            async with client.stream("Hallo") as stream:
                await anext(stream)
                scope.cancel()
                await anyio.sleep(60)
    assert attributes(telemetry.span)["error.type"] == "cancelled"
    assert telemetry.span.status.status_code is StatusCode.UNSET


@pytest.mark.anyio
async def test_the_span_of_an_invalid_answer_has_its_usage(telemetry: Telemetry) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices={"fake-model": {"input": 1, "output": 1}})
    async with FakeEndpoint("no number").client([telemetry.policy(), cost]) as client:
        with pytest.raises(headrace.AnswerError):
            await client.chat("How many?", answer=int)
    exported = attributes(telemetry.span)
    assert (exported["error.type"], exported["gen_ai.usage.output_tokens"]) == ("answer_error", 5)
    assert exported["headrace.cost_usd"] == float(Decimal("0.000015"))


def test_settings_from_file_environment_and_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def policy(**keywords: Any) -> Otel:
        client = FakeEndpoint().client(None, **keywords)
        (found,) = (policy for policy in client.policies if isinstance(policy, Otel))
        return found

    monkeypatch.chdir(tmp_path)
    assert (policy().traces, policy().metrics, policy().content) == (True, True, False)
    (tmp_path / "headrace.toml").write_text("[otel]\ncontent = true\nmetrics = false\n")
    assert (policy().metrics, policy().content) == (False, True)
    monkeypatch.setenv("HEADRACE_OTEL_CONTENT", "false")
    assert not policy().content
    provider = TracerProvider()
    assert policy(otel={"tracer_provider": provider}).tracer_provider is provider
    provider.shutdown()
    with pytest.raises(headrace.SettingsError, match="expected TracerProvider"):
        policy(otel={"tracer_provider": "mine"})


@pytest.mark.trio
async def test_durations_use_the_clock_of_the_event_loop(
    telemetry: Telemetry, autojump_clock: trio.testing.MockClock
) -> None:
    async with FakeEndpoint(Answer(delay=3)).client([telemetry.policy()]) as client:
        await client.chat("Hallo")
    (point,) = telemetry.points()["gen_ai.client.operation.duration"]
    assert point.sum == 3.0


LATE_PROVIDERS = """
import anyio
from headrace.testing import FakeEndpoint
from headrace_otel import Otel
from opentelemetry import metrics, trace
from telemetry import Telemetry

async def main() -> None:
    telemetry = Telemetry()
    async with FakeEndpoint().client([Otel()]) as client, FakeEndpoint().client([Otel()]) as other:
        await client.chat("before")
        trace.set_tracer_provider(telemetry.tracers)
        metrics.set_meter_provider(telemetry.meters)
        await client.chat("after")
        await other.chat("after")
    (duration,) = telemetry.points()["gen_ai.client.operation.duration"]
    print(len(telemetry.spans), duration.count)

anyio.run(main)
"""


def test_the_global_providers_may_be_set_late() -> None:
    # In a separate process, because they can be set only once.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATE_PROVIDERS],
        cwd=Path(__file__).parent,  # the folder of telemetry.py
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2 2\n", "")


@pytest.mark.anyio
async def test_nothing_is_kept_of_an_ended_call(telemetry: Telemetry) -> None:
    seen: list[headrace.Call] = []

    class Seeing:
        name, stage = "seeing", headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def see(call: headrace.Call) -> headrace.Reply:
                seen.append(call)
                assert call.notes
                return await send(call)

            return see

    async with FakeEndpoint().client([telemetry.policy(), Seeing()]) as client:
        await client.chat("Hallo")
        async with client.stream("Hallo") as stream:
            async for _ in stream:
                pass
    assert [call.notes for call in seen] == [{}, {}]
