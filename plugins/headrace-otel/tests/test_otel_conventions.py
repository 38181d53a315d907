"""Names are those of the released conventions, or with the opt-in those of the latest."""

from __future__ import annotations

import json
from typing import Any

import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_otel.conventions import LATEST, OPT_IN, RELEASED, select_conventions
from headrace_otel.messages import input_attributes, output_attributes, tool_definitions
from telemetry import ANSWERED, Telemetry, attributes

pytestmark = pytest.mark.anyio

UNKNOWN = {"gen_ai.token.modality": "unknown"}

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {
        "cached_tokens": 40,
        "cache_write_tokens": 20,
        "audio_tokens": 30,
        "image_tokens": 0,
    },
    "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 5},
}
CHAT = Answer(
    body={
        "id": "c",
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)
COMMON = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.reasoning.output_tokens": 15,
}


@pytest.fixture
def latest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the opt-in, together with one for other conventions."""
    monkeypatch.setenv(OPT_IN, "http, gen_ai_latest_experimental")


def usage_in(exported: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in exported.items() if name.startswith("gen_ai.usage.")}


@pytest.mark.parametrize(
    ("variable", "conventions"),
    [
        (None, RELEASED),
        ("", RELEASED),
        ("http", RELEASED),
        ("gen_ai_latest", RELEASED),
        ("gen_ai_latest_experimental", LATEST),
        ("database/dup, gen_ai_latest_experimental ,http", LATEST),
    ],
)
def test_the_environment_selects_the_conventions(variable: str | None, conventions: Any) -> None:
    assert OPT_IN == "OTEL_SEMCONV_STABILITY_OPT_IN"
    assert select_conventions({} if variable is None else {OPT_IN: variable}) is conventions


async def test_released_names_are_sent_by_default(telemetry: Telemetry) -> None:
    async with FakeEndpoint(CHAT).client([telemetry.policy()], model="m") as client:
        await client.chat("Hi", reasoning_effort="low")
    span = telemetry.span
    assert usage_in(attributes(span)) == COMMON | {"gen_ai.usage.cache_creation.input_tokens": 20}
    assert "gen_ai.request.reasoning.level" not in attributes(span)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.41.0"
    assert telemetry.schema_urls == {"https://opentelemetry.io/schemas/1.41.0"}
    points = telemetry.points()
    assert set(points) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "headrace.client.in_flight",
    }


@pytest.mark.usefixtures("latest")
async def test_latest_names_are_sent_with_the_opt_in(telemetry: Telemetry) -> None:
    async with FakeEndpoint(CHAT).client([telemetry.policy()], model="m") as client:
        await client.chat("Hi", reasoning_effort="low")
    span = telemetry.span
    assert usage_in(attributes(span)) == COMMON | {
        "gen_ai.usage.cache_write.input_tokens": 20,
        "gen_ai.usage.audio.input_tokens": 30,
        "gen_ai.usage.audio.output_tokens": 5,
    }
    assert attributes(span)["gen_ai.request.reasoning.level"] == "low"
    url = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == url
    assert telemetry.schema_urls == {url}
    points = telemetry.points()
    assert set(points) == {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
        "gen_ai.client.inference.usage.cache_read.input_tokens",
        "gen_ai.client.inference.usage.cache_write.input_tokens",
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.usage.reasoning.output_tokens",
        "headrace.client.in_flight",
    }
    (duration,) = points["gen_ai.client.inference.duration"]
    assert (duration.count, duration.attributes) == (1, ANSWERED)
    assert tuple(duration.explicit_bounds[:2]) == (0.01, 0.02)


def count_by_modality(points: dict[str, list[Any]], name: str) -> dict[str, int]:
    """Return the values of a counter by modality."""
    found = points[f"gen_ai.client.inference.usage.{name}"]
    return {point.attributes["gen_ai.token.modality"]: point.value for point in found}


@pytest.mark.usefixtures("latest")
async def test_tokens_by_modality_add_up(telemetry: Telemetry) -> None:
    async with FakeEndpoint(CHAT, CHAT).client([telemetry.policy()], model="m") as client:
        await client.chat("Hi")
        await client.chat("Hi")
    points = telemetry.points()
    assert count_by_modality(points, "input_tokens") == {"audio": 60, "unknown": 140}
    assert count_by_modality(points, "output_tokens") == {"audio": 10, "unknown": 90}
    assert count_by_modality(points, "cache_read.input_tokens") == {"unknown": 80}
    assert count_by_modality(points, "cache_write.input_tokens") == {"unknown": 40}
    assert count_by_modality(points, "reasoning.output_tokens") == {"unknown": 30}
    (inputs,) = points["gen_ai.client.inference.operation.input_tokens"]
    assert (inputs.count, inputs.sum, inputs.attributes) == (2, 200, ANSWERED)
    assert inputs.explicit_bounds[-1] == 67108864
    unknown = next(
        point
        for point in points["gen_ai.client.inference.usage.input_tokens"]
        if point.attributes["gen_ai.token.modality"] == "unknown"
    )
    assert unknown.attributes == ANSWERED | UNKNOWN


@pytest.mark.usefixtures("latest")
async def test_a_failed_inference_is_counted(telemetry: Telemetry) -> None:
    cut = {"choices": [{"message": {"content": "no number"}}], "usage": USAGE}
    async with FakeEndpoint(500, Answer(body=cut)).client([telemetry.policy()], model="m") as client:
        with pytest.raises(headrace.ServerError):
            await client.chat("Hi")
        with pytest.raises(headrace.AnswerError):
            await client.chat("Hi", answer={"type": "object", "properties": {"n": {"type": "integer"}}})
    points = telemetry.points()
    inputs = {
        point.attributes["error.type"]: point.sum
        for point in points["gen_ai.client.inference.operation.input_tokens"]
    }
    assert inputs == {"server_error": 0, "answer_error": 100}
    assert count_by_modality(points, "input_tokens") == {"audio": 30, "unknown": 70}
    assert all(
        "error.type" not in point.attributes for point in points["gen_ai.client.inference.usage.input_tokens"]
    )


@pytest.mark.usefixtures("latest")
async def test_streams_embeddings_and_other_calls_have_separate_metrics(telemetry: Telemetry) -> None:
    vectors = {"model": "e", "data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 7}}
    endpoint = FakeEndpoint("one two", Answer(body=vectors), Answer(body={"data": []}))
    async with endpoint.client([telemetry.policy()], model="m") as client:
        async with client.stream("Hi") as stream:
            [_ async for _ in stream]
        await client.request("POST", "/embeddings", {"input": "x", "model": "e"})
        await client.request("GET", "/models")
    points = telemetry.points()
    (first,) = points["gen_ai.client.inference.time_to_first_chunk"]
    assert first.attributes == ANSWERED
    (embedded,) = points["gen_ai.client.embeddings.operation.input_tokens"]
    assert (embedded.count, embedded.sum) == (1, 7)
    operations = {
        name: [point.attributes["gen_ai.operation.name"] for point in points[name]]
        for name in (
            "gen_ai.client.inference.duration",
            "gen_ai.client.embeddings.duration",
            "gen_ai.client.operation.duration",
        )
    }
    assert list(operations.values()) == [["chat"], ["embeddings"], ["models"]]


async def test_unreported_counts_are_not_in_spans(telemetry: Telemetry) -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}}],
        "usage": {"completion_tokens": 0, "prompt_tokens": None},
    }
    bare = {"choices": [{"message": {"content": "Hi"}}]}
    async with FakeEndpoint(Answer(body=body), Answer(body=bare)).client([telemetry.policy()]) as client:
        await client.chat("Hi")
        await client.chat("Hi")
    first, second = map(attributes, telemetry.spans)
    assert usage_in(first).get("gen_ai.usage.output_tokens") == 0
    assert "gen_ai.usage.input_tokens" not in first
    assert usage_in(second) == {}


@pytest.mark.usefixtures("latest")
async def test_there_is_a_finish_reason_for_each_choice(telemetry: Telemetry) -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}, {"message": {"content": ""}}]
    }
    async with FakeEndpoint(Answer(body=body)).client([telemetry.policy()]) as client:
        await client.chat("Hi", extra_body={"top_k": 40, "previous_response_id": "resp_1"})
    exported = attributes(telemetry.span)
    assert exported["gen_ai.response.finish_reasons"] == ("stop", "error")
    assert (
        exported["gen_ai.request.top_k"],
        exported["gen_ai.request.previous_response.id"],
    ) == (40, "resp_1")
    assert isinstance(exported["gen_ai.request.top_k"], int)


async def test_the_request_model_is_the_one_a_rule_selected(telemetry: Telemetry) -> None:
    Route = pytest.importorskip("headrace_route").Route
    too_long = {"error": {"message": "…", "code": "context_length_exceeded"}}
    endpoint = FakeEndpoint(Answer(status=400, body=too_long))
    async with endpoint.client([telemetry.policy(), Route(on_context_window="large")], model="m") as client:
        await client.chat("Hi")
    exported = attributes(telemetry.span)
    assert (exported["gen_ai.request.model"], exported["gen_ai.response.model"]) == (
        "large",
        "large",
    )
    (event,) = telemetry.span.events
    assert (event.name, dict(event.attributes or {})) == (
        "headrace.failover",
        {
            "headrace.failover.endpoint": "fake.test",
            "headrace.failover.error": "status_error",
            "headrace.failover.reason": "context_window",
            "headrace.failover.model": "large",
        },
    )
    (duration,) = telemetry.points()["gen_ai.client.operation.duration"]
    assert duration.attributes["gen_ai.request.model"] == "large"


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": PARAMETERS}


@pytest.mark.parametrize(
    ("body", "tools"),
    [
        (
            {"tools": [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}]},
            [WEATHER],
        ),
        ({"functions": [{"name": "f"}]}, [{"type": "function", "name": "f"}]),
        (
            {"tools": [WEATHER, {"type": "web_search"}]},
            [WEATHER, {"type": "web_search", "name": "web_search"}],
        ),
        (
            {"tools": [{"name": "weather", "description": "Of a city.", "input_schema": PARAMETERS}]},
            [WEATHER],
        ),
        ({"tools": "none"}, []),
        ({"tools": [7, {"type": "function", "function": None}]}, [{"type": "function", "name": "function"}]),
        ({}, []),
    ],
)
def test_tools_are_converted_to_one_format(body: dict[str, Any], tools: list[Any]) -> None:
    assert tool_definitions(body) == tools


async def test_tools_are_exported_only_with_content(telemetry: Telemetry) -> None:
    tools = [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}]
    for content in (False, True):
        async with FakeEndpoint().client([telemetry.policy(content=content)]) as client:
            await client.chat("Hi", tools=tools)
    without, with_content = map(attributes, telemetry.spans)
    assert "gen_ai.tool.definitions" not in without
    assert json.loads(with_content["gen_ai.tool.definitions"]) == [WEATHER]


def test_messages_in_the_latest_format() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    inputs = input_attributes({"messages": [{"role": "user", "content": [image]}]}, LATEST)
    assert json.loads(str(inputs["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "generic", "generic_type": "image_url"}]}
    ]
    choice = {"message": {"role": "assistant", "content": "Hi", "reasoning": "Hm."}, "finish_reason": "stop"}
    exported = output_attributes({"choices": [choice]}, LATEST)
    assert json.loads(str(exported["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Hi"}],
        }
    ]
