"""The line that every request leaves in the log, and the line that tells why a provider failed."""

import asyncio
import json
import logging
import socket
from typing import Any

import httpx2
import pytest
from pytest_mock import MockerFixture

from tests.conftest import AUTH, KEY, MakeClient, StandIn
from tests.integration.log_lines import request_lines
from tests.mcp.support import HEADERS, answers, modern_request, request

GENERATE = {"name": "generate", "arguments": {"prompt": "hi"}}
OK = {"status": 200, "outcome": "ok"}


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shared")


async def only_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one line, without what differs from run to run."""
    (line,) = request_lines(caplog)
    left_out = ("request_id", "duration_ms", "method", "principal", "route")
    return {name: value for name, value in line.items() if name not in left_out}


def failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the log says of failed providers."""
    prefix = "provider_failed "
    found = [m.removeprefix(prefix) for m in caplog.messages if m.startswith(prefix)]
    return [json.loads(text) for text in found]


def level(caplog: pytest.LogCaptureFixture) -> str:
    (found,) = [r.levelname for r in caplog.records if r.name == "shared.routes.exchange"]
    return found


async def through_tools(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/tools/generate", json={"prompt": "hi"})


async def through_chat(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/chat", json={"message": "hi"})


async def through_stream(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/chat", json={"message": "hi", "stream": True})


async def through_modern_mcp(client: httpx2.AsyncClient) -> httpx2.Response:
    message, headers = modern_request("tools/call", GENERATE)
    return await client.post("/mcp", json=message, headers={**HEADERS, **headers})


async def through_legacy_mcp(client: httpx2.AsyncClient) -> httpx2.Response:
    headers = {**HEADERS, "MCP-Protocol-Version": "2025-11-25"}
    return await client.post("/mcp", json=request(1, "tools/call", GENERATE), headers=headers)


async def through_a_batch(client: httpx2.AsyncClient) -> httpx2.Response:
    batch = [request(1, "ping"), request(2, "tools/call", GENERATE)]
    return await client.post("/mcp", json=batch, headers=HEADERS)


DOORS = [
    through_tools,
    through_chat,
    through_stream,
    through_modern_mcp,
    through_legacy_mcp,
    through_a_batch,
]
IS_CHAT = (through_chat, through_stream)
DECLARES_FAILURE = (through_tools, through_chat)
"""Doors whose status says that the provider failed; the others answer 200."""


@pytest.mark.parametrize("door", DOORS)
async def test_line_of_a_call_names_tool_provider_model_and_tokens(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, door: Any
) -> None:
    assert (await door(client)).status_code == 200
    line = await only_line(caplog)
    assert line.pop("input_tokens") > 0
    assert line.pop("output_tokens") > 0
    assert line.pop("cost_usd") > 0
    tool = {} if door in IS_CHAT else {"tool": "generate"}
    provider = {"provider": "compatible", "model": "gpt-6-luna", "provider_calls": 1}
    assert line == OK | tool | provider
    assert level(caplog) == "INFO"


async def test_requests_at_the_same_time_have_lines_of_their_own(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    await through_modern_mcp(client)
    caplog.clear()
    stand_in.fault(delay=0.2, times=4)
    await asyncio.gather(*(door(client) for door in DOORS if door not in IS_CHAT))
    lines = request_lines(caplog)
    assert [line["tool"] for line in lines] == ["generate"] * 4
    assert len({(line["input_tokens"], line["output_tokens"]) for line in lines}) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_failed_provider_is_in_the_line_also_inside_of_a_200(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    unused_port: int,
    door: Any,
) -> None:
    environment |= {"OPENAI_BASE_URL": f"http://sk-user@127.0.0.1:{unused_port}/v1"}
    response = await door(make_client(environment))
    line = await only_line(caplog)
    tool = {} if door in IS_CHAT else {"tool": "generate"}
    assert line == tool | {
        "status": 502 if door in DECLARES_FAILURE else 200,
        "code": "provider_unavailable",
        "outcome": "provider_error",
        "provider": "compatible",
        "model": "gpt-6-luna",
    }
    assert level(caplog) == "WARNING"
    assert failures(caplog) == [
        {
            "request_id": response.headers["x-request-id"],
            "host": f"127.0.0.1:{unused_port}",
            "provider": "compatible",
            "capability": "chat",
            "model": "gpt-6-luna",
            "reason": "connection refused",
        }
    ]
    assert "sk-" not in caplog.text


@pytest.mark.parametrize("door", [through_modern_mcp, through_legacy_mcp, through_a_batch])
async def test_providers_refusal_is_the_callers_failure(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture, door: Any
) -> None:
    stand_in.fault(status=400, message="in-the-message")
    await door(client)
    line = await only_line(caplog)
    assert (line["code"], line["outcome"]) == ("provider_rejected", "client_error")
    assert level(caplog) == "INFO"
    assert failures(caplog) == []
    assert "in-the-message" not in caplog.text


async def mcp_line(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, method: str, **params: Any
) -> dict[str, Any]:
    headers = {**HEADERS, "MCP-Protocol-Version": "2025-11-25"}
    response = await client.post("/mcp", json=request(1, method, params), headers=headers)
    assert response.status_code == 200, answers(response)
    return await only_line(caplog)


async def test_wrong_arguments_over_mcp_are_the_callers_failure(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    line = await mcp_line(client, caplog, "tools/call", name="generate", arguments={})
    failure = {"code": "invalid_request", "outcome": "client_error", "tool": "generate"}
    assert line == {"status": 200} | failure


async def test_unknown_names_over_mcp_are_not_logged(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    line = await mcp_line(client, caplog, "tools/call", name="made-up", arguments={})
    assert line == {"status": 200, "code": "not_found", "outcome": "client_error"}
    assert "made-up" not in caplog.text


@pytest.mark.parametrize("uri", ["media://made-up", "conversation://made-up", "made-up://"])
async def test_unknown_resource_is_in_the_line(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, uri: str
) -> None:
    line = await mcp_line(client, caplog, "resources/read", uri=uri)
    assert line == {"status": 200, "code": "not_found", "outcome": "client_error"}


async def test_resource_without_storage_is_in_the_line_and_told_to_the_client(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client({"MCP_API_KEY": KEY, "WEBSITE_SITE_NAME": "app"}, {**AUTH, **HEADERS})
    message = request(1, "resources/read", {"uri": f"media://{'0' * 44}"})
    (answer,) = answers(await client.post("/mcp", json=message))
    assert await only_line(caplog) == {
        "status": 200,
        "code": "not_configured",
        "outcome": "error",
    }
    assert "AZURE_STORAGE_ACCOUNT_URL" in answer["error"]["message"]


async def test_tool_whose_provider_fails_inside_a_chat_is_in_the_line(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    unused_port: int,
) -> None:
    dead = f"http://127.0.0.1:{unused_port}/v1"
    client = make_client(environment | {"OPENAI_IMAGE_BASE_URL": dead})
    stand_in.fault(call_tools=["server_time", "generate_image"])
    response = await client.post("/chat", json={"message": "hi"})
    assert response.status_code == 200
    line = await only_line(caplog)
    assert line.pop("input_tokens") > 0
    assert line.pop("output_tokens") > 0
    assert line.pop("cost_usd") > 0
    assert line.pop("provider_calls") == 2
    assert line == {
        "status": 200,
        "code": "provider_unavailable",
        "outcome": "provider_error",
        "tool": "generate_image",
        "tool_calls": 2,
        "provider": "compatible",
        "model": "gpt-6-luna",
    }
    assert level(caplog) == "WARNING"
    (failure,) = failures(caplog)
    assert (failure["capability"], failure["reason"]) == ("image", "connection refused")


async def test_tool_that_does_not_end_in_time_inside_a_chat_is_in_the_line(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await through_tools(make_client(environment))
    caplog.clear()
    stand_in.fault(call_tools=["generate_image"])
    stand_in.fault(delay=30)
    client = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "6"})
    assert (await client.post("/chat", json={"message": "hi"})).status_code == 200
    line = await only_line(caplog)
    assert (line["code"], line["outcome"]) == ("deadline_exceeded", "error")
    assert line["tool"] == "generate_image"
    (failure,) = failures(caplog)
    assert failure["reason"].startswith("no answer within ")


async def test_tool_that_the_model_calls_wrong_is_no_failure_of_the_request(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.fault(call_tools=["add_task"], tool_arguments="{}")
    response = await client.post("/chat", json={"message": "hi"})
    assert response.json()["tool_calls"][0]["is_error"]
    assert (await only_line(caplog))["outcome"] == "ok"


async def test_model_that_a_caller_makes_up_is_logged_only_if_it_looks_like_one(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for model in ("gpt-6-luna-2026", "the secret plan; " * 20):
        await client.post("/tools/generate", json={"prompt": "hi", "model": model})
    assert [line["model"] for line in request_lines(caplog)] == ["gpt-6-luna-2026", "other"]
    assert "secret plan" not in caplog.text


async def test_refused_request_has_code_and_outcome_but_no_tool_that_ran(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post("/tools/generate", json={})
    line = await only_line(caplog)
    failure = {"code": "invalid_request", "outcome": "client_error", "tool": "generate"}
    assert line == {"status": 422} | failure


async def test_wrong_method_has_its_code(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/mcp")
    assert await only_line(caplog) == {
        "status": 405,
        "code": "method_not_allowed",
        "outcome": "client_error",
    }


async def test_configured_model_that_the_provider_does_not_know_is_an_outage(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    for arguments in ({"prompt": "hi"}, {"prompt": "hi", "model": "mistyped"}):
        stand_in.fault(status=404, message="no such model")
        await client.post("/tools/generate", json=arguments)
    assert [line["outcome"] for line in request_lines(caplog)] == ["provider_error", "client_error"]
    (failure,) = failures(caplog)
    assert failure["model"] == "gpt-6-luna"
    assert failure["reason"] == "the provider does not know the configured model"


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"status": 500, "message": "in-the-message"}, "status 500"),
    ({"status": 401, "message": "in-the-message"}, "status 401"),
    ({"status": 429, "code": "insufficient_quota"}, "status 429"),
    ({"cut": "connection"}, "connection closed before the answer was complete"),
    ({"body": "{not json"}, "The provider's answer is not valid JSON. Try again."),
]


@pytest.mark.parametrize(("fault", "reason"), REASONS)
async def test_line_says_how_the_provider_failed(
    client: httpx2.AsyncClient,
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
    reason: str,
) -> None:
    stand_in.fault(**fault)
    await client.post("/tools/generate", json={"prompt": "in-the-prompt"})
    assert [failure["reason"] for failure in failures(caplog)] == [reason]
    for content in ("in-the-message", "in-the-prompt", "sk-test"):
        assert content not in caplog.text


async def test_stream_that_is_cut_is_told_of(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.fault(cut="clean")
    await client.post("/chat", json={"message": "hi", "stream": True})
    assert [failure["reason"] for failure in failures(caplog)] == [
        "The provider's answer ended before it was complete. Try again."
    ]
    assert (await only_line(caplog))["code"] == "provider_truncated"


async def test_unknown_host_is_told_of(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    mocker: MockerFixture,
) -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolver = mocker.patch.object(socket, "getaddrinfo", side_effect=unknown)
    environment |= {"OPENAI_BASE_URL": "http://no-such-host.invalid/v1"}
    await make_client(environment).post("/tools/generate", json={"prompt": "hi"})
    (failure,) = failures(caplog)
    assert (failure["host"], failure["reason"]) == ("no-such-host.invalid", "unknown host")
    assert resolver.called


async def test_endpoint_without_tls_is_told_of(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    https = stand_in.base_url.replace("http://", "https://")
    await make_client(environment | {"OPENAI_BASE_URL": https}).post(
        "/tools/generate", json={"prompt": "hi"}
    )
    (failure,) = failures(caplog)
    assert failure["reason"].startswith("TLS failed: ")


@pytest.mark.parametrize("door", [through_tools, through_stream, through_modern_mcp])
async def test_provider_that_is_too_slow_is_told_of(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    door: Any,
) -> None:
    # What the first call loads must not use the time up.
    await door(make_client(environment))
    caplog.clear()
    stand_in.fault(delay=30)
    await door(make_client(environment | {"REQUEST_DEADLINE_SECONDS": "3"}))
    (failure,) = failures(caplog)
    assert failure["reason"].startswith("no answer within ")
    line = await only_line(caplog)
    assert (line["code"], line["outcome"]) == ("deadline_exceeded", "error")


async def test_debug_tells_of_every_attempt(
    client: httpx2.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "shared")
    stand_in.fault(status=429, headers={"Retry-After": "0"})
    await client.post("/tools/generate", json={"prompt": "in-the-prompt"})
    attempts = [m for m in caplog.messages if m.startswith("provider_attempt ")]
    results = [json.loads(each.partition(" ")[2])["result"] for each in attempts]
    assert results == ["status 429", "ok"]
    assert "in-the-prompt" not in caplog.text
