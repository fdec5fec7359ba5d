"""The tools of connections at ``/mcp`` and ``/tools``, as clients see them."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import TOOLS, StandIn, ThreadServer, digest
from tests.connections.conftest import McpWorld
from tests.connections.hostile import TOOL, Exchange, Hostile, event, on_call, results
from tests.mcp.support import HEADERS, answers, connected, modern_request, request
from tests.waiting import until

KEYS = {"alice": "key-of-alice", "bob": "key-of-bob"}
NO_CONNECTIONS = "key-without-connections"
FILES = ["files__add", "files__fail", "files__large", "files__count", "files__sleep"]

MakeOrigin = Callable[..., str]


def auth(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def make_origin(environment: dict[str, str]) -> Iterator[MakeOrigin]:
    """Starts an app, and returns its origin."""
    servers = []
    keys: dict[str, Any] = {name: digest(key) for name, key in KEYS.items()}
    keys["carol"] = {"sha256": digest(NO_CONNECTIONS), "scopes": ["tools"]}

    def make(**settings: str) -> str:
        ours = {"API_KEYS": json.dumps(keys), "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
        app = create_app(load_settings(environment | {"MCP_API_KEY": ""} | ours | settings))
        server = ThreadServer(app)
        servers.append(server)
        server.__enter__()
        return server.origin

    yield make
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def origin(make_origin: MakeOrigin) -> str:
    return make_origin()


@pytest.fixture
async def api(origin: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with http(origin) as client:
        yield client


def http(origin: str, key: str = KEYS["alice"]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=origin, headers=auth(key), timeout=60)


def client_of(
    origin: str, mode: str = "auto", key: str = KEYS["alice"], query: str = ""
) -> AbstractAsyncContextManager[Client]:
    return connected(f"{origin}/mcp{query}", mode, auth(key))


async def connect(api: httpx2.AsyncClient, url: str, name: str) -> str:
    response = await api.post("/mcp/connect", json={"mcp_url": url, "name": name})
    assert response.status_code == 201, response.text
    client_id: str = response.json()["client_id"]
    return client_id


def text_of(result: CallToolResult, index: int = 0) -> str:
    """Returns the text of a part of a result."""
    part = result.content[index]
    assert isinstance(part, TextContent)
    return part.text


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


@asynccontextmanager
async def hostile(api: httpx2.AsyncClient, trick: Any, name: str = "odd") -> AsyncIterator[None]:
    """Connects to a server that means harm."""
    with ThreadServer(Hostile({"mcp": trick})) as server:
        await connect(api, f"{server.origin}/mcp", name)
        yield


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_of_connections_are_listed_and_called_at_mcp(
    origin: str, api: httpx2.AsyncClient, server: McpWorld, mode: str
) -> None:
    await connect(api, server.url, "files")
    async with client_of(origin, mode) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [*TOOLS, *FILES]
        add = listed[len(TOOLS)]
        assert (add.title, add.description) == ("files: add", "Adds two numbers.")
        assert set(add.input_schema["properties"]) == {"a", "b"}
        result = await client.call_tool("files__add", {"a": 2, "b": 3})
        assert (result.structured_content, result.is_error) == ({"result": 5}, False)
        own = await client.call_tool("server_time", {})
        assert not own.is_error


async def test_same_request_lists_what_is_connected_at_the_time(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    async def listed(key: str = KEYS["alice"]) -> list[str]:
        message, headers = modern_request("tools/list")
        headers |= HEADERS | auth(key)
        answer = await api.post("/mcp", json=message, headers=headers)
        return [tool["name"] for tool in answer.json()["result"]["tools"]]

    assert [await listed(), await listed()] == [[*TOOLS], [*TOOLS]]
    client_id = await connect(api, server.url, "files")
    assert [await listed(), await listed()] == [[*TOOLS, *FILES], [*TOOLS, *FILES]]
    assert [await listed(KEYS["bob"]), await listed(NO_CONNECTIONS)] == [[*TOOLS], [*TOOLS]]
    await api.post("/mcp/disconnect", json={"client_id": client_id})
    assert await listed() == [*TOOLS]


async def test_failure_of_a_tool_is_told_in_its_servers_words(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    await connect(api, server.url, "files")
    async with client_of(origin) as client:
        failed = await client.call_tool("files__fail", {})
        unknown = await client.call_tool("files__nope", {})
        server.running.stop()
        gone = await client.call_tool("files__add", {"a": 1, "b": 1})
    assert (failed.is_error, "it went wrong" in text_of(failed, 0)) == (True, True)
    assert (unknown.is_error, "no tool 'files__nope'" in text_of(unknown, 0)) == (True, True)
    assert (gone.is_error, "MCP server" in text_of(gone, 0)) == (True, True)


async def test_progress_of_a_remote_tool_reaches_the_client(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    await connect(api, server.url, "files")
    seen = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with client_of(origin) as client:
        await client.call_tool("files__count", {}, progress_callback=note)
    assert seen == [(1.0, 2.0, "step 1"), (2.0, 2.0, "step 2")]


async def test_words_of_progress_are_cut_and_cleaned(origin: str, api: httpx2.AsyncClient) -> None:
    seen: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    async def speak(exchange: Exchange) -> None:
        await exchange.start("text/event-stream")
        await exchange.write(exchange.progress(1, "\u202e\U000e0041odd" + "x" * 5000))
        done = {"content": [{"type": "text", "text": "done"}]}
        await exchange.write(event(exchange.answer(done)), more=False)

    async with hostile(api, on_call(speak)), client_of(origin) as client:
        await client.call_tool("odd__tool", {}, progress_callback=note)
    [message] = seen
    assert message is not None
    assert (message[:4], len(message)) == ("oddx", 500)


async def test_cancelled_call_is_cancelled_at_its_server(
    origin: str, api: httpx2.AsyncClient
) -> None:
    ended: list[str] = []

    async def wait(exchange: Exchange) -> None:
        await exchange.start("text/event-stream")
        await exchange.write(exchange.progress(1))
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
        ended.append("cancelled")

    async with hostile(api, on_call(wait)):
        body, headers = modern_request("tools/call", {"name": "odd__tool"})
        body["params"]["_meta"]["progressToken"] = 1
        async with api.stream("POST", "/mcp", json=body, headers=HEADERS | headers) as response:
            async for line in response.aiter_lines():
                if "progress" in line:
                    break
        await until(lambda: bool(ended), bool)


async def test_parts_of_a_result_come_as_the_server_sent_them(
    origin: str, api: httpx2.AsyncClient
) -> None:
    parts = [
        {"type": "text", "text": "hid\u202eden"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "resource_link", "uri": "note://one", "name": "one"},
        {"type": "resource", "resource": {"uri": "note://two", "text": "two"}},
    ]
    answer = {"content": parts, "structuredContent": {"a": 1}}
    async with hostile(api, results(tools_call=answer)), client_of(origin) as client:
        result = await client.call_tool("odd__tool", {})
    dumped = [
        part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in result.content
    ]
    assert dumped == [
        {"type": "text", "text": "hidden"},
        parts[1],
        {"type": "resource_link", "uri": "connection://odd/note://one", "name": "one"},
        {"type": "resource", "resource": {"uri": "connection://odd/note://two", "text": "two"}},
    ]
    assert result.structured_content == {"a": 1}


async def test_parts_that_a_client_does_not_take_become_text(
    origin: str, api: httpx2.AsyncClient
) -> None:
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "note://one", "name": "a note"},
        {"type": "resource", "resource": {"uri": "note://two", "text": "two"}},
        {"type": "resource", "resource": {"uri": "note://three", "blob": "aGk="}},
    ]
    as_text = [
        "one",
        "[image image/png]",
        "[audio audio/wav]",
        "[a note: connection://odd/note://one]",
        "two",
        "[resource: connection://odd/note://three]",
    ]
    answer = {"content": parts, "structuredContent": {"a": 1}}
    async with hostile(api, results(tools_call=answer)):
        async with client_of(origin, query="?content=text") as client:
            result = await client.call_tool("odd__tool", {})
        assert [part.type for part in result.content] == ["text"] * len(parts)
        assert [text_of(result, index) for index in range(len(parts))] == as_text
        assert result.structured_content == {"a": 1}
        async with client_of(origin, query="?content=image,resource") as client:
            result = await client.call_tool("odd__tool", {})
        kinds = [part.type for part in result.content]
        assert kinds == ["text", "image", "text", "text", "resource", "resource"]
        # Revision 2025-03-26 has no links.
        call = request(1, "tools/call", {"name": "odd__tool"})
        [oldest] = answers(await api.post("/mcp", json=call, headers=HEADERS))
    kinds = [part["type"] for part in oldest["result"]["content"]]
    assert kinds == ["text", "image", "audio", "text", "resource", "resource"]
    assert oldest["result"]["content"][3]["text"] == as_text[3]


async def test_a_resource_of_a_connection_is_read_by_its_name_here(
    origin: str, api: httpx2.AsyncClient
) -> None:
    contents = {"contents": [{"uri": "note://one", "mimeType": "text/plain", "text": "hello"}]}
    async with hostile(api, results(resources_read=contents)), client_of(origin) as client:
        result = await client.read_resource("connection://odd/note://one")
        with pytest.raises(MCPError, match="There is no connection of this name"):
            await client.read_resource("connection://even/note://one")
    [read] = result.contents
    assert (str(read.uri), getattr(read, "text", None)) == ("connection://odd/note://one", "hello")


async def test_results_that_clients_would_refuse_are_cut(
    origin: str, api: httpx2.AsyncClient
) -> None:
    image = {"type": "image", "data": "aGk=" * 100_000, "mimeType": "image/png"}
    parts = [image, image, image, image, {"type": "text", "text": "x" * 2_000_000}]
    async with hostile(api, results(tools_call={"content": parts})), client_of(origin) as client:
        result = await client.call_tool("odd__tool", {})
    assert [part.type for part in result.content] == ["image", "image", "text", "text", "text"]
    assert text_of(result, 2) == text_of(result, 3) == "[left out: image of 400014 characters]"
    assert text_of(result, 4) == "[left out: text of 2000004 characters]"
    assert len(result.model_dump_json()) < 1_000_000
    answer = {"content": [], "structuredContent": {"a": "x" * 500_000}}
    async with (
        hostile(api, results(tools_call=answer), "large"),
        client_of(origin) as client,
    ):
        result = await client.call_tool("large__tool", {})
    assert (result.is_error, "Ask for less" in text_of(result, 0)) == (True, True)


async def test_query_narrows_to_connections_by_name_or_id(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    one = await connect(api, server.url, "one")
    await connect(api, server.url, "two")
    for query, expected in (
        ("", {"one", "two"}),
        ("?connections=none", set()),
        ("?connections=", set()),
        ("?connections=two", {"two"}),
        (f"?connections={one}", {"one"}),
        ("?connections=one,%20two", {"one", "two"}),
    ):
        async with client_of(origin, query=query) as client:
            found = await names(client)
            assert {name.partition("__")[0] for name in found if "__" in name} == expected
            result = await client.call_tool("one__add", {"a": 1, "b": 1})
            assert result.is_error is ("one" not in expected)
        path = f"/tools{query}"
        assert [tool["name"] for tool in (await api.get(path)).json()["tools"]] == found
    async with client_of(origin, query="?connections=three") as client:
        with pytest.raises(MCPError, match="no connection 'three'"):
            await client.list_tools()
    assert (await api.get("/tools?connections=three")).status_code == 404


async def test_other_callers_see_and_call_none_of_them(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    client_id = await connect(api, server.url, "files")
    for key in (KEYS["bob"], NO_CONNECTIONS):
        async with client_of(origin, key=key) as client:
            assert await names(client) == TOOLS
            assert (await client.call_tool("files__add", {"a": 1, "b": 1})).is_error
        async with http(origin, key) as other:
            assert (await other.get("/tools")).json()["count"] == len(TOOLS)
            status = (await other.post("/tools/files__add", json={"a": 1, "b": 1})).status_code
            assert status == (404 if key != NO_CONNECTIONS else 403)
            narrowed = await other.get("/tools", params={"connections": client_id})
            assert narrowed.status_code == (404 if key != NO_CONNECTIONS else 403)


async def test_tools_of_connections_are_called_over_https(
    api: httpx2.AsyncClient, server: McpWorld
) -> None:
    await connect(api, server.url, "files")
    listed = (await api.get("/tools")).json()
    assert [tool["name"] for tool in listed["tools"]] == [*TOOLS, *FILES]
    assert (listed["count"], "connection_problems" in listed) == (len(TOOLS) + len(FILES), False)
    assert listed["tools"][-1]["paid"] is False
    added = await api.post("/tools/files__add", json={"a": 2, "b": 3})
    assert (added.status_code, added.json()) == (200, {"result": 5})
    assert (await api.post("/tools/files__count")).json() == {"result": "counted"}
    failed = await api.post("/tools/files__fail", json={})
    assert (failed.status_code, failed.json()["code"]) == (400, "provider_rejected")
    assert "it went wrong" in failed.json()["detail"]
    for name in ("files__nope", "nope__add", "nope", "search_tools"):
        missing = await api.post(f"/tools/{name}", json={})
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    server.running.stop()
    gone = await api.post("/tools/files__add", json={"a": 2, "b": 3})
    assert (gone.status_code, gone.json()["code"]) == (502, "provider_unavailable")
    [problem] = (await api.get("/tools")).json().get("connection_problems", [None])
    assert problem is None or problem["name"] == "files"


async def test_more_tools_than_the_limit_are_searched_and_called_by_two(
    make_origin: MakeOrigin, server: McpWorld, stand_in: StandIn
) -> None:
    origin = make_origin(MCP_MAX_TOOLS=str(len(TOOLS) + 4))
    async with http(origin) as api:
        await connect(api, server.url, "files")
        assert (await api.get("/tools")).json()["count"] == len(TOOLS) + len(FILES)
    async with client_of(origin) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [*TOOLS, "search_tools", "call_tool"]
        hints = listed[-1].annotations
        assert hints is not None
        assert (hints.destructive_hint, hints.open_world_hint) == (True, True)
        found = await client.call_tool("search_tools", {"query": "add two numbers"})
        assert found.structured_content is not None
        assert found.structured_content["tools"][0]["name"] == "files__add"
        called = await client.call_tool(
            "call_tool", {"name": "files__add", "arguments": {"a": 2, "b": 3}}
        )
        assert called.structured_content == {"result": 5}
        wrongs: list[dict[str, Any]] = [
            {"name": "server_time"},
            {"name": "files__nope"},
            {"arguments": {}},
        ]
        for wrong in wrongs:
            refused = await client.call_tool("call_tool", wrong)
            assert refused.is_error
        direct = await client.call_tool("files__add", {"a": 2, "b": 3})
        assert direct.structured_content == {"result": 5}


async def test_server_that_is_down_is_left_out_and_told_of(
    origin: str, api: httpx2.AsyncClient, server: McpWorld
) -> None:
    other = McpWorld()
    with other.running:
        await connect(api, other.url, "down")
    await connect(api, server.url, "files")
    async with client_of(origin) as client:
        result = await client.list_tools()
    assert [tool.name for tool in result.tools] == [*TOOLS, *FILES]
    assert result.meta is not None
    [problem] = result.meta["openai-mcp-functions/connection-problems"]
    assert (problem["name"], problem["reason"]) == ("down", "unavailable")
    assert (result.ttl_ms, result.cache_scope) == (0, "private")
    [problem] = (await api.get("/tools")).json()["connection_problems"]
    assert (problem["name"], problem["reason"]) == ("down", "unavailable")


async def test_tool_named_like_ours_takes_the_place_of_none(
    origin: str, api: httpx2.AsyncClient
) -> None:
    theirs = [{**TOOL, "name": name} for name in ("server_time", "call_tool", "odd__tool")]
    async with (
        hostile(api, results(tools_list={"tools": theirs})),
        client_of(origin) as client,
    ):
        found = await names(client)
        ours = await client.call_tool("server_time", {})
        odd = await client.call_tool("odd__server_time", {})
    assert found == [*TOOLS, "odd__server_time", "odd__call_tool", "odd__odd__tool"]
    assert "[MCP Server Time]" in text_of(ours, 0)
    assert text_of(odd, 0) == "done"
