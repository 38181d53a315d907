"""OpenTelemetry's SDK for tests, with exporters that keep everything in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace_otel import Otel

TARGET = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m",
    "server.address": "fake.test",
    "server.port": 80,
}
"""The metric attributes of a call of model m to a `FakeEndpoint`."""

ANSWERED = TARGET | {"gen_ai.response.model": "m"}
"""Those of a call with a reply."""


class Telemetry:
    """The telemetry that was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])

    def policy(self, **settings: Any) -> Otel:
        """Return the policy that exports to this object."""
        return Otel(**{"tracer_provider": self.tracers, "meter_provider": self.meters} | settings)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The ended spans, in the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        """The only span that ended."""
        (span,) = self.spans
        return span

    def points(self) -> dict[str, list[Any]]:
        """Return the data points of each metric, by its name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def schema_urls(self) -> set[str]:
        """The schema URLs of the metrics."""
        data = self._reader.get_metrics_data()
        resources = [] if data is None else data.resource_metrics
        return {str(scope.schema_url) for resource in resources for scope in resource.scope_metrics}

    def everything(self) -> str:
        """Return everything that was exported, as text."""
        spans = "".join(span.to_json() for span in self.spans)
        return spans + "".join(str(points) for points in self.points().values())

    def shutdown(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Provide an SDK for one test, not the global one."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()
