"""All routes of the manager, in the whole app, with servers of every official SDK and transport."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, KEY, TOOLS, MakeClient, StandIn, ThreadServer
from tests.connections import foreign

pytestmark = pytest.mark.any_python

KINDS = [
    ("sdk2", "http"),
    ("sdk2", "sse"),
    ("sdk2", "stdio"),
    ("sdk1", "http"),
    ("sdk1", "sse"),
    ("sdk1", "stdio"),
    ("typescript", "http"),
    ("typescript", "stdio"),
]


@contextmanager
def connectable(sdk: str, transport: str) -> Iterator[dict[str, Any]]:
    """Yields the fields that connect to a server, which runs while the block does if it has a URL."""
    if transport == "stdio":
        yield {"transport": transport, "command": sdk}
        return
    with foreign.running(sdk, transport) as url:
        yield {"transport": transport, "mcp_url": url}


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def fields(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What ``POST /mcp/connect`` takes for each of the servers."""
    with connectable(*request.param) as found:
        yield found


@pytest.fixture
def app_settings(environment: dict[str, str], fields: Mapping[str, Any]) -> dict[str, str]:
    settings = environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
    if command := fields.get("command"):
        commands = {command: foreign.command_of(command, "stdio")}
        settings["MCP_STDIO_COMMANDS"] = json.dumps(commands)
    return settings


@pytest.fixture
def api(make_client: MakeClient, app_settings: dict[str, str]) -> httpx2.AsyncClient:
    return make_client(app_settings)


async def asked(api: httpx2.AsyncClient, path: str, **query: str) -> dict[str, Any]:
    return answered(await api.get(path, params=query))


async def told(api: httpx2.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    return answered(await api.post(path, json=body))


def answered(response: httpx2.Response) -> dict[str, Any]:
    assert response.is_success, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.fixture
async def connected(api: httpx2.AsyncClient, fields: dict[str, Any]) -> AsyncIterator[Any]:
    """What connecting answered."""
    made = await told(api, "/mcp/connect", name="foreign", **fields)
    yield made
    await told(api, "/mcp/disconnect", client_id=made["client_id"])


async def test_connecting_tells_what_the_server_offers_and_lists_tell_the_same(
    api: httpx2.AsyncClient, connected: dict[str, Any]
) -> None:
    client_id = connected["client_id"]
    assert connected == {
        "status": "connected",
        "client_id": client_id,
        "tools": connected["tools"],
        "resources": connected["resources"],
        "prompts": connected["prompts"],
        "message": "Successfully connected to MCP server",
    }
    for what in ("tools", "resources", "prompts"):
        assert await asked(api, f"/mcp/list_{what}", client_id=client_id) == {
            "status": "success",
            "client_id": client_id,
            what: connected[what],
            "count": len(connected[what]),
        }
    tools = {tool["name"]: tool for tool in connected["tools"]}
    assert {name: tool["description"] for name, tool in tools.items()} == {
        "add": "Adds two numbers.",
        "fail": "Fails.",
        "count": "Reports progress.",
    }
    assert set(tools["add"]["inputSchema"]["properties"]) == {"a", "b"}
    assert set(tools["add"]["outputSchema"]["properties"]) == {"result"}
    (resource,) = connected["resources"]
    assert (resource["name"], resource["uri"]) == ("note", "note://one")
    (prompt,) = connected["prompts"]
    assert prompt["name"] == "review"
    assert prompt["arguments"] == [{"name": "language", "required": True}]


async def test_tool_answers_with_structured_output_fails_and_reports_progress(
    api: httpx2.AsyncClient, connected: dict[str, Any]
) -> None:
    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        client_id = connected["client_id"]
        answer = await told(
            api, "/mcp/call_tool", client_id=client_id, tool_name=tool, arguments=arguments
        )
        assert answer.pop("execution_time") >= 0
        return answer

    assert await call("add", a=2, b=3) == {
        "status": "success",
        "result": {"result": 5},
        "content": [{"type": "text", "text": "5"}],
        "error": None,
    }
    failed = await call("fail")
    text = failed["error"]
    assert failed == {
        "status": "error",
        "result": None,
        "content": [{"type": "text", "text": text}],
        "error": text,
    }
    assert text.endswith("it went wrong")
    assert (await call("count"))["content"] == [{"type": "text", "text": "counted"}]


async def test_progress_reaches_whoever_chats(
    api: httpx2.AsyncClient, connected: dict[str, Any], stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["foreign__count"], tool_arguments="{}")
    events = await api.post("/chat", json={"message": "Go", "stream": True})
    lines = [line for line in events.text.splitlines() if line.startswith("data: ")]
    seen = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [(each["progress"], each["total"]) for each in seen if "progress" in each] == [
        (1, 2),
        (2, 2),
    ]


async def test_resource_is_read_and_prompt_filled_in(
    api: httpx2.AsyncClient, connected: dict[str, Any]
) -> None:
    client_id = connected["client_id"]
    note = {"uri": "note://one", "mimeType": "text/plain", "text": "noted"}
    read = await told(api, "/mcp/read_resource", client_id=client_id, uri="note://one")
    assert read == {
        "status": "success",
        "client_id": client_id,
        "uri": "note://one",
        "content": note,
        "contents": [note],
    }
    prompt = await told(
        api,
        "/mcp/get_prompt",
        client_id=client_id,
        prompt_name="review",
        arguments={"language": "Go"},
    )
    message = {"role": "user", "content": {"type": "text", "text": "Review this Go"}}
    assert prompt.pop("content")["messages"] == [message]
    assert prompt == {"status": "success", "client_id": client_id, "prompt_name": "review"}


async def test_connection_is_listed_and_shown_until_it_is_ended(
    api: httpx2.AsyncClient, fields: dict[str, Any]
) -> None:
    client_id = (await told(api, "/mcp/connect", name="foreign", **fields))["client_id"]
    shown = await asked(api, f"/mcp/client/{client_id}")
    metadata = shown["metadata"]
    assert shown == {"status": "success", "client_id": client_id, "metadata": metadata}
    assert metadata == {
        "created_at": metadata["created_at"],
        "transport": fields["transport"],
        "auth_type": "none",
        "name": "foreign",
        "mcp_url": fields.get("mcp_url"),
        "command": fields.get("command"),
        "last_activity": metadata["last_activity"],
        "status": "connected",
    }
    summary = {**metadata, "client_id": client_id}
    listing = {"status": "success", "clients": [summary], "count": 1}
    assert await asked(api, "/mcp/clients") == listing
    await told(api, "/mcp/disconnect", client_id=client_id)
    assert await asked(api, "/mcp/clients") == {"status": "success", "clients": [], "count": 0}
    gone = await api.get("/mcp/list_tools", params={"client_id": client_id})
    assert gone.status_code == 404


@pytest.mark.parametrize("sdk", foreign.COMMANDS)
async def test_server_that_restarted_is_called_as_before(
    make_client: MakeClient, environment: dict[str, str], sdk: str
) -> None:
    api = make_client(environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"})
    with foreign.running(sdk, "http") as url:
        client_id = (await told(api, "/mcp/connect", mcp_url=url))["client_id"]
    call = {"client_id": client_id, "tool_name": "add", "arguments": {"a": 2, "b": 3}}
    down = await api.post("/mcp/call_tool", json=call)
    assert (down.status_code, down.json()["code"]) == (502, "provider_unavailable")
    with foreign.running(sdk, "http", urlsplit(url).port or 0):
        assert (await told(api, "/mcp/call_tool", **call))["result"] == {"result": 5}


@pytest.mark.parametrize("command", ["typescript", "node"])
async def test_command_that_the_operator_does_not_name_is_not_started(
    make_client: MakeClient, environment: dict[str, str], command: str
) -> None:
    for commands in ("", '{"other": ["node"]}'):
        api = make_client(environment | {"MCP_STDIO_COMMANDS": commands})
        body = {"transport": "stdio", "command": command}
        response = await api.post("/mcp/connect", json=body)
        assert response.status_code == 422
        assert (await asked(api, "/mcp/clients"))["count"] == 0


async def test_app_connects_to_its_own_mcp_endpoint(
    environment: dict[str, str], stand_in: StandIn
) -> None:
    settings = load_settings(environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"})
    with ThreadServer(create_app(settings)) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as api:
            made = await told(
                api,
                "/mcp/connect",
                mcp_url=f"{server.origin}/mcp",
                auth_type="bearer",
                bearer_token=KEY,
            )
            assert [tool["name"] for tool in made["tools"]] == TOOLS
            assert [resource["uri"] for resource in made["resources"]] == ["models://supported"]
            stand_in.fault(text="Good day.")
            for tool, arguments in {
                "chat_completion": {"prompt": "Say hello."},
                "list_supported_models": {},
                "add_task": {"title": "Buy milk"},
            }.items():
                own = await told(api, f"/tools/{tool}", **arguments) if not arguments else None
                answer = await told(
                    api,
                    "/mcp/call_tool",
                    client_id=made["client_id"],
                    tool_name=tool,
                    arguments=arguments,
                )
                assert answer["status"] == "success", answer
                if own is not None:
                    assert answer["result"] == own
            tasks = await told(
                api, "/mcp/call_tool", client_id=made["client_id"], tool_name="list_tasks"
            )
            assert [task["title"] for task in tasks["result"]["tasks"]] == ["Buy milk"]
            await told(api, "/mcp/disconnect", client_id=made["client_id"])
