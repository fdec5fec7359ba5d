"""Spans by OpenTelemetry's conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai names the operations and attributes. FastAPI
makes the span of a request, the MCP SDK those of its messages; here are the agent, tools and providers.
Until `shared.otlp` has loaded an exporter spans are not recorded. None of them holds content: no
messages, arguments, results or texts of errors.
"""

import asyncio
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Literal

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from shared.errors import GatewayError

Attributes = Mapping[str, str | int | float | None]

AgentOperation = Literal["invoke_agent", "execute_tool"]

TRACE_FIELDS = frozenset({"traceparent", "tracestate", "baggage"})
"""What carries a trace, in headers or in MCP's ``_meta``."""

_tracer = trace.get_tracer("openai-mcp-functions")


def records_spans() -> bool:
    """Returns whether anything records spans: an exporter has been loaded."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def operation_span(name: AgentOperation, target: str, attributes: Attributes) -> Iterator[Span]:
    """Makes the block, and the tasks that are started in it, a span within this process.

    Not for a block with the ``yield`` of an async generator: different tasks may read it.

    Args:
        name: What is done.
        target: The agent or tool that does it.
        attributes: More attributes by the conventions; None is left out.
    """
    if not records_spans():
        yield trace.INVALID_SPAN
        return
    with _tracer.start_as_current_span(
        f"{name} {target}", record_exception=False, set_status_on_exception=False
    ) as span:
        span.set_attributes(_present({"gen_ai.operation.name": name, **attributes}))
        try:
            yield span
        except BaseException as error:
            fail(span, error)
            raise


def tool_span(name: str) -> AbstractContextManager[Span]:
    """Makes the block the span of a tool call."""
    attributes = {"gen_ai.tool.name": name, "gen_ai.tool.type": "function"}
    return operation_span("execute_tool", name, attributes)


class ProviderSpan:
    """The span of one call of a provider, with its retries.

    Args:
        operation_name: What is asked for, such as ``chat``.
        provider: The provider, by the names of the conventions.
        model: The model that is asked.
        address: Host of the provider.
    """

    def __init__(self, operation_name: str, provider: str, model: str, address: str | None) -> None:
        self._started = monotonic()
        self._span = _tracer.start_span(f"{operation_name} {model}".rstrip(), kind=SpanKind.CLIENT)
        self.set(
            {
                "gen_ai.operation.name": operation_name,
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model or None,
                "server.address": address,
            }
        )

    def set(self, attributes: Attributes) -> None:
        """Adds attributes; None is left out."""
        self._span.set_attributes(_present(attributes))

    def note_first_output(self) -> None:
        """Notes how long the first piece of the answer took."""
        self.set({"gen_ai.response.time_to_first_chunk": monotonic() - self._started})

    def end(self, error: BaseException | None) -> None:
        """Ends the span."""
        if error is not None:
            fail(self._span, error)
        self._span.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the span the parent of what the block sends."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield


def fail(span: Span, error: BaseException) -> None:
    """Notes the kind of an error, never its text."""
    if isinstance(error, GatewayError):
        kind = error.failure.code or error.code
    elif isinstance(error, asyncio.CancelledError | GeneratorExit):
        kind = "cancelled"
    else:
        kind = type(error).__qualname__
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def inject(headers: MutableMapping[str, str]) -> None:
    """Adds ``traceparent`` and ``tracestate`` of the current span to the headers of a request.

    https://www.w3.org/TR/trace-context/. Nothing is added where there is no trace.
    """
    propagate.inject(headers)


def _present(attributes: Attributes) -> dict[str, str | int | float]:
    return {name: value for name, value in attributes.items() if value is not None}
