"""Lists of tools that were written before: the same bytes as the SDK's, for the same request only."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from shared.app import make_mcp_server
from shared.asgi import replay
from shared.auth import Principal
from shared.deadline import Deadline
from shared.mcp_server import ListAnswers, McpEndpoint
from shared.mcp_server.list_answers import read_list_request
from shared.routes.mcp import mcp_context
from shared.services import Services
from shared.settings import load_settings
from tests.mcp.support import HEADERS, TIMEOUT, modern_request, request

REVISIONS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


class TwoEndpoints:
    """Our MCP server at ``/sdk``, where the SDK answers, and at ``/kept``, where it does once."""

    def __init__(self, services: Services) -> None:
        self.endpoint = McpEndpoint(lambda: make_mcp_server(services, mcp_context, "https://host"))
        self.lists = ListAnswers(services.selector, mcp_context)
        self.asked_sdk = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {
            "principal": Principal("tests", frozenset({"tools", "connections"})),
            "deadline": Deadline.after(TIMEOUT),
        }
        body = await Request(scope, receive).body()
        if scope["path"] == "/sdk":
            await self.endpoint.answer(body, json.loads(body), scope, receive, send)
        elif (asked := read_list_request(scope, body, json.loads(body))) is None:
            await self.count(scope, replay(body, receive), send)
        else:
            await self.lists.answer(asked, body, self.count, scope, receive, send)

    async def count(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked_sdk += 1
        body = await Request(scope, receive).body()
        await self.endpoint.answer(body, json.loads(body), scope, replay(b"", receive), send)


@pytest.fixture
async def served(environment: dict[str, str]) -> AsyncIterator[TwoEndpoints]:
    services = Services.make(load_settings(environment))
    endpoints = TwoEndpoints(services)
    yield endpoints
    await endpoints.endpoint.aclose()
    await services.aclose()


@pytest.fixture
async def http(served: TwoEndpoints) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(served)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://app", headers=HEADERS
    ) as client:
        yield client


def asking(revision: str, id_: Any = 1, **params: Any) -> dict[str, Any]:
    """A request for the list, as httpx2 takes it."""
    if revision == "2026-07-28":
        message, headers = modern_request("tools/list", params)
    else:
        message, headers = request(1, "tools/list", params), {"MCP-Protocol-Version": revision}
    return {"json": {**message, "id": id_}, "headers": headers}


@pytest.mark.parametrize("revision", REVISIONS)
async def test_list_that_was_written_before_is_the_sdks_to_the_byte(
    served: TwoEndpoints, http: httpx2.AsyncClient, revision: str
) -> None:
    for id_ in (1, 2, 2**40, -3, "a-b.c:d_9"):
        kept = await http.post("/kept", **asking(revision, id_))
        written = await http.post("/sdk", **asking(revision, id_))
        assert kept.status_code == 200
        assert kept.content == written.content
        assert kept.headers == written.headers
    assert served.asked_sdk == 1


async def test_list_is_the_same_whatever_the_token_of_progress(
    served: TwoEndpoints, http: httpx2.AsyncClient
) -> None:
    for token in (1, 2, "three"):
        asked = asking("2025-11-25", _meta={"progressToken": token})
        assert (await http.post("/kept", **asked)).content == (
            await http.post("/sdk", **asked)
        ).content
    assert served.asked_sdk == 1


@pytest.mark.parametrize(
    ("revision", "change"),
    [
        ("2026-07-28", {"headers": {"Mcp-Method": "tools/call"}}),
        ("2026-07-28", {"headers": {"MCP-Protocol-Version": "2027-01-01"}}),
        ("2026-07-28", {"params": {CAPABILITIES: []}}),
        ("2026-07-28", {"params": {"idempotency-key": "\n"}}),
        ("2025-11-25", {"headers": {"Accept": "text/html"}}),
        ("2025-11-25", {"headers": {"Content-Type": "text/plain"}}),
        ("2025-11-25", {"headers": {"MCP-Protocol-Version": "2025-06-18"}}),
        ("2025-11-25", {"params": {"progressToken": []}}),
        ("2025-11-25", {"message": {"jsonrpc": "1.0"}}),
        ("2025-11-25", {"message": {"params": {"cursor": 1}}}),
        ("2025-11-25", {"message": {"id": None}}),
        ("2025-11-25", {"message": {"id": "é"}}),
        ("2025-11-25", {"message": {"id": True}}),
        ("2025-11-25", {"message": {"id": 1.5}}),
        ("2025-11-25", {"message": {"method": "prompts/list"}}),
        ("2025-11-25", {"params": {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}}),
    ],
)
async def test_any_other_request_is_the_sdks_to_answer(
    served: TwoEndpoints, http: httpx2.AsyncClient, revision: str, change: dict[str, Any]
) -> None:
    await http.post("/kept", **asking(revision))
    other = asking(revision)
    other["headers"] |= change.get("headers", {})
    other["json"] |= change.get("message", {})
    if meta := change.get("params"):
        params = other["json"]["params"]
        params["_meta"] = {**params.get("_meta", {}), **meta}
    for _ in range(2):
        kept = await http.post("/kept", **other)
        written = await http.post("/sdk", **other)
        assert (kept.status_code, kept.content) == (written.status_code, written.content)
    assert served.asked_sdk >= 2


async def test_request_that_is_refused_is_refused_each_time(
    served: TwoEndpoints, http: httpx2.AsyncClient
) -> None:
    asked = asking("2026-07-28")
    asked["headers"]["Mcp-Method"] = "tools/call"
    for _ in range(3):
        assert (await http.post("/kept", **asked)).status_code == 400
    assert served.asked_sdk == 3


async def test_what_is_kept_has_a_limit(served: TwoEndpoints, http: httpx2.AsyncClient) -> None:
    async def ask(client: int) -> None:
        asked = asking("2026-07-28", _meta={})
        asked["json"]["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = {
            "name": f"client {client}",
            "version": "1",
        }
        assert (await http.post("/kept", **asked)).status_code == 200

    await ask(0)
    await ask(0)
    assert served.asked_sdk == 1
    # One list is 15 kB of at most 4 MB.
    for client in range(1, 200):
        await ask(client)
    await ask(0)
    assert served.asked_sdk == 201
