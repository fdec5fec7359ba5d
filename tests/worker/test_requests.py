"""Requests and their whole answers, through the worker."""

import asyncio
import re
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from shared.app import create_app
from shared.errors import Unauthorized
from shared.settings import load_settings
from tests.worker.conftest import BROWSER_ORIGIN
from tests.worker.process import WorkerProcess

QUESTION = {"message": "What is the current server time?"}
MARK = "[MCP Server Time]"


async def test_health_needs_no_key(worker: WorkerProcess) -> None:
    async with worker.client(headers={}) as client:
        response = await client.get("/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "version": ANY,
        "build": "dev",
        "timestamp": ANY,
        "uptime_seconds": ANY,
        "active_clients": 0,
        "checks": {"auth": True, "openai": True, "storage": True},
        "problems": [],
    }


async def test_chat_answers_with_what_the_tool_said(caller: httpx2.AsyncClient) -> None:
    response = await caller.post("/chat", json=QUESTION)
    assert response.status_code == 200
    answer = response.json()
    assert MARK in answer["answer"]
    assert answer["tool_calls"] == [
        {
            "name": "server_time",
            "arguments": {},
            "result": {"server_time": ANY},
            "is_error": False,
            "duration_ms": ANY,
        }
    ]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_mcp_client_lists_and_calls_the_tools_of_the_https_routes(
    caller: httpx2.AsyncClient, worker: WorkerProcess, mode: str
) -> None:
    transport = streamable_http_client(f"{worker.origin}/mcp", http_client=caller)
    async with Client(transport, mode=mode) as client:
        listed = await client.list_tools()
        called = await client.call_tool("server_time", {})
    functions = {function["name"] for function in worker.functions}
    tools = {name.removeprefix("tool_") for name in functions if name.startswith("tool_")}
    # This one function calls the tools of all connections.
    assert {tool.name for tool in listed.tools} == tools - {"of_connection"}
    assert not called.is_error
    assert called.structured_content == {"server_time": ANY}
    assert called.structured_content["server_time"].startswith(MARK)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize("path", ["/chat", "/mcp", "/tools/server_time"])
async def test_without_a_valid_key_the_answer_is_401(
    worker: WorkerProcess, path: str, headers: dict[str, str]
) -> None:
    async with worker.client(headers) as client:
        response = await client.post(path, json={})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {
        "detail": Unauthorized().detail,
        "code": "unauthorized",
        "request_id": response.headers["x-request-id"],
    }


async def test_wrong_body_answers_422_and_names_the_field(caller: httpx2.AsyncClient) -> None:
    response = await caller.post("/chat", json={}, headers={"X-Request-Id": "wrong-body"})
    assert response.status_code == 422
    assert response.json() == {
        "detail": "message: This field is required",
        "errors": [
            {"type": "missing", "loc": ["body", "message"], "msg": "This field is required"}
        ],
        "code": "invalid_request",
        "request_id": "wrong-body",
    }


async def test_every_function_is_answered_by_the_application(worker: WorkerProcess) -> None:
    # The worker's own HTTP server is a FastAPI application too, with routes of its own.
    calls = [
        (method, "/" + re.sub(r"\{[^}]+\}", "x", re.sub(r"\{[^}]+\?\}", "", function["route"])))
        for function in worker.functions
        for method in function["methods"]
    ]
    async with worker.client(headers={}) as client:
        answers = {call: await client.request(*call) for call in calls}
    assert [call for call, answer in answers.items() if "x-request-id" not in answer.headers] == []


async def test_openapi_document_describes_the_application(
    caller: httpx2.AsyncClient, app_settings: dict[str, str]
) -> None:
    response = await caller.get("/openapi.json")
    assert response.status_code == 200
    assert response.json() == create_app(load_settings(app_settings)).openapi()


async def test_path_with_a_slash_too_many_is_not_redirected(caller: httpx2.AsyncClient) -> None:
    # The host takes it for the function's route. A redirect would name http, not https: behind the
    # host the application cannot see that the caller came by https.
    response = await caller.post("/chat/", json=QUESTION)
    assert not response.is_redirect


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("GET", "/chat")])
async def test_route_without_a_function_is_answered_by_the_host(
    caller: httpx2.AsyncClient, method: str, path: str
) -> None:
    response = await caller.request(method, path)
    assert (response.status_code, response.content) == (404, b"")
    assert "x-request-id" not in response.headers


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_mcp_answers_405_where_there_is_no_session(
    caller: httpx2.AsyncClient, method: str
) -> None:
    response = await caller.request(method, "/mcp")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/chat", "/mcp"])
async def test_preflight_of_an_allowed_origin_reaches_the_application(
    worker: WorkerProcess, path: str
) -> None:
    wish = {
        "Origin": BROWSER_ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
        "X-Request-Id": f"preflight{path.replace('/', '-')}",
    }
    async with worker.client(headers=wish) as client:
        response = await client.options(path)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == BROWSER_ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"].lower()
    # No route of ours answered, and the worker's own, which matches anything, is none of ours.
    assert (await worker.logged_request(wish["X-Request-Id"]))["route"] is None


async def test_log_has_one_line_of_each_request_without_the_callers_url(
    caller: httpx2.AsyncClient, worker: WorkerProcess
) -> None:
    secret = "typed-into-the-wrong-place"
    await caller.get(f"/tools?key={secret}", headers={"X-Request-Id": "logged"})
    line: dict[str, Any] = await worker.logged_request("logged")
    assert line == {
        "request_id": "logged",
        "method": "GET",
        "route": "/tools",
        "status": 200,
        "duration_ms": ANY,
        "principal": "default",
        "outcome": "ok",
    }
    assert secret not in str(worker.log)


async def test_worker_reads_requests_as_the_local_host_does(worker: WorkerProcess) -> None:
    async with worker.client() as client:
        # The worker's server is there once it has answered.
        await client.get("/health")
    url = httpx2.URL(worker.http_uri)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read(-1)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    # Words of our own protocol: uvicorn's others refuse such a request too.
    assert answer.endswith(b"The request must have exactly one Host header.")
