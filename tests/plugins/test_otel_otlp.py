"""A collector receives over OTLP what a client of an endpoint over HTTP exports."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import headrace
from headrace.testing.server import endpoint_process
from headrace_otel import Otel


class Collector(ThreadingHTTPServer):
    """Stores posted messages, like a collector."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def messages(self, path: str, kind: type[Any]) -> list[Any]:
        """The decoded messages that were posted to a path."""
        return [kind.FromString(body) for posted, body in self.received if posted == path]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write nothing to stderr."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def values(pairs: Any) -> dict[str, Any]:
    """The attributes of a protocol message as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@pytest.mark.anyio
async def test_collector_receives_spans_and_metrics(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.url}/v1/metrics"))
    meters = MeterProvider([reader])
    policy = Otel(tracer_provider=tracers, meter_provider=meters, content=True)
    async with (
        endpoint_process() as endpoint,
        headrace.Client(base_url=endpoint.base_url, model="m", policies=[policy]) as client,
    ):
        await client.chat("Hallo", max_tokens=20, temperature=0.5, stop=["x", "y"])
        async with client.stream("Hallo", max_tokens=20) as stream:
            text = "".join([piece.text async for piece in stream])
        with pytest.raises(headrace.StatusError):
            await client.request("GET", "/nothing")
    tracers.shutdown()
    meters.shutdown()

    spans = [
        span
        for message in collector.messages("/v1/traces", ExportTraceServiceRequest)
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    whole, streamed, refused = spans
    assert [span.name for span in spans] == ["chat m", "chat m", "GET /nothing"]
    assert whole.kind == whole.SPAN_KIND_CLIENT
    attributes = values(whole.attributes)
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert [text.string_value for text in attributes["gen_ai.request.stop_sequences"].values] == ["x", "y"]
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert attributes["headrace.attempts"] == 1
    assert values(streamed.attributes)["gen_ai.request.stream"] is True
    assert text in values(streamed.attributes)["gen_ai.output.messages"]
    assert values(streamed.attributes)["gen_ai.response.time_to_first_chunk"] > 0
    assert streamed.end_time_unix_nano > streamed.start_time_unix_nano
    assert refused.status.code == refused.status.STATUS_CODE_ERROR
    assert values(refused.attributes)["error.type"] == "status_error"

    metrics = {
        metric.name: metric
        for message in collector.messages("/v1/metrics", ExportMetricsServiceRequest)
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    durations = metrics["gen_ai.client.operation.duration"]
    assert durations.unit == "s"
    assert sum(point.count for point in durations.histogram.data_points) == 3
    assert set(metrics) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.token.usage",
        "headrace.client.in_flight",
    }
