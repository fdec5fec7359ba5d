"""Export of spans and metrics to an OpenTelemetry collector, by OTLP over HTTP.

Importing this module imports the SDK and the exporters, which takes a third of a second: the app does so
in a thread after its first answer, and only where an endpoint is set.
"""

from collections.abc import Mapping
from urllib.parse import unquote

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from shared import __version__
from shared.settings import OtlpSettings

DEFAULT_NAME = "openai-mcp-functions"

_NANOSECONDS = 1e9
_DIMENSIONS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.tool.name",
    "mcp.method.name",
    "mcp.protocol.version",
    "error.type",
)
"""Attributes of spans by which metrics are told apart: a few values each, none of them a caller's."""


def start(settings: OtlpSettings) -> None:
    """Starts the export of this process; what is not sent yet is sent when the process ends.

    Args:
        settings: Where the collector is. The SDK reads its further settings, such as OTEL_SERVICE_NAME
            and OTEL_TRACES_SAMPLER, from the environment.
    """
    endpoint = f"{settings.endpoint}".rstrip("/")
    headers = _headers(settings)
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: DEFAULT_NAME}))
    exporter = OTLPMetricExporter(
        f"{endpoint}/v1/metrics",
        headers=headers,
        # Instances come and go: each tells what is new, and the collector adds it up.
        preferred_temporality={Histogram: AggregationTemporality.DELTA},
    )
    meters = MeterProvider([PeriodicExportingMetricReader(exporter)], resource)
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(_Redaction())
    tracers.add_span_processor(_SpanMetrics(meters))
    spans = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=headers)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    metrics.set_meter_provider(meters)
    trace.set_tracer_provider(tracers)


class _Redaction(SpanProcessor):
    """Removes queries from the spans of requests: signed links have their signature there."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


class _SpanMetrics(SpanProcessor):
    """The metrics of the conventions, from the spans that are recorded."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("openai-mcp-functions", __version__)
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s"
        )
        self._durations = {
            name: meter.create_histogram(name, "s")
            for name in (
                "gen_ai.client.operation.duration",
                "gen_ai.invoke_agent.duration",
                "gen_ai.execute_tool.duration",
                "mcp.server.operation.duration",
                "mcp.client.operation.duration",
            )
        }

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        name = _duration_of(span.kind, attributes)
        if name is None or span.start_time is None or span.end_time is None:
            return
        dimensions = {each: attributes[each] for each in _DIMENSIONS if each in attributes}
        seconds = (span.end_time - span.start_time) / _NANOSECONDS
        self._durations[name].record(seconds, dimensions)
        if isinstance(first := attributes.get("gen_ai.response.time_to_first_chunk"), float):
            self._first_chunk.record(first, dimensions)
        for kind in ("input", "output"):
            if isinstance(count := attributes.get(f"gen_ai.usage.{kind}_tokens"), int):
                self._tokens.record(count, {**dimensions, "gen_ai.token.type": kind})


def _duration_of(kind: SpanKind, attributes: Mapping[str, object]) -> str | None:
    """Returns the metric of a span's duration, None for spans that have none."""
    if "mcp.method.name" in attributes:
        side = "server" if kind is SpanKind.SERVER else "client"
        return f"mcp.{side}.operation.duration"
    operation = attributes.get("gen_ai.operation.name")
    if operation in ("invoke_agent", "execute_tool"):
        return f"gen_ai.{operation}.duration"
    return None if operation is None else "gen_ai.client.operation.duration"


def _headers(settings: OtlpSettings) -> dict[str, str]:
    """Returns headers for the collector, written as OTEL_EXPORTER_OTLP_HEADERS has them."""
    text = settings.headers.get_secret_value() if settings.headers else ""
    pairs = (each.partition("=") for each in text.split(",") if each.strip())
    return {unquote(name).strip().lower(): unquote(value).strip() for name, _, value in pairs}
