"""Spans and metrics as a collector of OpenTelemetry gets them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.conftest import AUTH, StandIn, ThreadServer
from tests.connections.conftest import McpWorld
from tests.mcp.support import process_environment
from tests.media.app_process import running
from tests.waiting import until

TRACE = "0af7" * 8
PARENT = "b7ad" * 4
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
MESSAGE = "a message that no span may hold"
METRICS = {
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
    "gen_ai.execute_tool.duration",
}


class Collector:
    """A collector of OpenTelemetry that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: set[str] = set()
        self.headers: list[Mapping[str, str]] = []
        self.received = b""
        self.app = Starlette(
            routes=[
                Route("/v1/traces", self._take_traces, methods=["POST"]),
                Route("/v1/metrics", self._take_metrics, methods=["POST"]),
            ]
        )

    async def _take_traces(self, request: Request) -> Response:
        self.headers.append(request.headers)
        body = await request.body()
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return Response(media_type="application/x-protobuf")

    async def _take_metrics(self, request: Request) -> Response:
        body = await request.body()
        self.received += body
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {metric.name for metric in scope.metrics}
        return Response(media_type="application/x-protobuf")

    def named(self, name: str) -> Span:
        """Returns the one span of a name."""
        [span] = [span for span in self.of_the_trace() if span.name == name]
        return span

    def of_the_trace(self) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == TRACE]


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def api(collector: Collector, environment: dict[str, str]) -> Iterator[httpx2.AsyncClient]:
    with ThreadServer(collector.app) as server:
        settings = process_environment(**environment) | {
            "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": server.origin,
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20of-the-collector,x-team=a",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
        }
        with running(settings) as app:
            yield httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60)


async def exported(collector: Collector, api: httpx2.AsyncClient) -> None:
    """Waits until the export has begun, which is some time after the first answer."""

    async def look() -> bool:
        await api.get("/health")
        return bool(collector.spans)

    await until(look)


def attributes(span: Span) -> dict[str, Any]:
    return {
        each.key: each.value.string_value or each.value.int_value or each.value.double_value
        for each in span.attributes
    }


async def test_a_chat_with_a_local_and_a_remote_tool_is_one_trace(
    api: httpx2.AsyncClient, collector: Collector, server: McpWorld, stand_in: StandIn
) -> None:
    async with api:
        await exported(collector, api)
        connected = await api.post("/mcp/connect", json={"mcp_url": server.url, "name": "files"})
        assert connected.status_code == 201, connected.text
        stand_in.fault(call_tools=["files__count", "server_time"], tool_arguments="{}")
        answer = await api.post("/chat", json={"message": MESSAGE}, headers=TRACEPARENT)
        assert answer.status_code == 200, answer.text
        await until(lambda: any(span.name == "POST /chat" for span in collector.of_the_trace()))
        await until(lambda: collector.metrics >= METRICS)

    request, agent = collector.named("POST /chat"), collector.named("invoke_agent chat")
    remote, local = (
        collector.named("execute_tool files__count"),
        collector.named("execute_tool server_time"),
    )
    sent = collector.named("MCP send tools/call count")
    models = [span for span in collector.of_the_trace() if span.name.startswith("chat ")]
    assert request.parent_span_id.hex() == PARENT
    assert agent.parent_span_id == request.span_id
    assert {each.parent_span_id for each in (remote, local, *models)} == {agent.span_id}
    assert sent.parent_span_id == remote.span_id
    assert len(models) == answer.json()["turns"] == 2

    assert attributes(agent)["gen_ai.conversation.id"] == answer.json()["conversation_id"]
    asked = attributes(models[0])
    assert asked["gen_ai.operation.name"] == "chat"
    assert asked["gen_ai.usage.input_tokens"] > 0
    assert asked["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes(local)["gen_ai.tool.name"] == "server_time"

    sent_on = {each["headers"].get("traceparent", "") for each in stand_in.requests()}
    assert {f"00-{TRACE}-{span.span_id.hex()}-01" for span in models} <= sent_on
    assert MESSAGE.encode() not in collector.received
    assert collector.headers[0]["authorization"] == "Basic of-the-collector"


async def test_a_call_at_the_mcp_endpoint_has_one_span_of_the_tool(
    api: httpx2.AsyncClient, collector: Collector
) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "server_time", "arguments": {}, "_meta": TRACEPARENT},
    }
    accept = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    async with api:
        await exported(collector, api)
        answer = await api.post("/mcp", json=call, headers=accept)
        assert answer.status_code == 200, answer.text
        await until(lambda: "mcp.server.operation.duration" in collector.metrics)
        await until(collector.of_the_trace)
    [span] = collector.of_the_trace()
    assert (span.name, span.parent_span_id.hex()) == ("tools/call server_time", PARENT)


async def test_queries_do_not_reach_the_collector(
    api: httpx2.AsyncClient, collector: Collector
) -> None:
    async with api:
        await exported(collector, api)
        await api.get("/media/any?s=a-signature", headers=TRACEPARENT)
        await until(collector.of_the_trace)
    assert b"a-signature" not in collector.received


def test_without_an_endpoint_the_sdk_is_not_loaded() -> None:
    code = """
import asyncio, json, sys, httpx2
from shared.app import create_app
async def main():
    transport = httpx2.ASGITransport(create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health")).status_code == 200
    await asyncio.get_running_loop().shutdown_default_executor()
asyncio.run(main())
print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry.")]))
"""
    environment = {**process_environment(MCP_API_KEY="a-key-for-one-test"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded
    assert not [
        name for name in loaded if name.startswith(("opentelemetry.sdk", "opentelemetry.exp"))
    ]
