"""Spans and metrics of a test alone: OpenTelemetry's providers are set once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once


class Told:
    """What a process would export.

    Attributes:
        provider: the tracer provider that is set.
    """

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in this order."""
        return list(self._exporter.get_finished_spans())

    def named(self, start: str) -> list[ReadableSpan]:
        """Those whose name begins so."""
        return [span for span in self.spans if span.name.startswith(start)]

    def only(self) -> tuple[ReadableSpan, dict[str, Any]]:
        """The one span of a rerank call, with its attributes."""
        (span,) = self.named("rerank ")
        return span, dict(span.attributes or {})

    def points(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        """The sum and the attributes of each point of a histogram."""
        data: Any = self._reader.get_metrics_data()
        return [
            (point.sum, dict(point.attributes))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def without_providers(patch: pytest.MonkeyPatch) -> None:
    """Let nobody have set a provider; one that is set now is forgotten with the patch."""
    patch.setattr(trace, "_TRACER_PROVIDER", None)
    patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    patch.setattr(metrics._internal, "_METER_PROVIDER", None)
    patch.setattr(metrics._internal, "_METER_PROVIDER_SET_ONCE", Once())


@contextmanager
def telemetry(**options: Any) -> Iterator[Told]:
    """Spans and metrics go to memory; the options are those of the tracer provider."""
    told = Told(**options)
    with pytest.MonkeyPatch.context() as patch:
        without_providers(patch)
        trace.set_tracer_provider(told.provider)
        metrics.set_meter_provider(told.meters)
        yield told
    told.provider.shutdown()
    told.meters.shutdown()


def inside(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether a span is a child of another one."""
    return (
        span.parent is not None
        and parent.context is not None
        and (span.parent.trace_id, span.parent.span_id)
        == (parent.context.trace_id, parent.context.span_id)
    )
