"""Connections against real MCP servers of both eras."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.connections import (
    Connected,
    Connections,
    ConnectionsConfig,
    ConnectionTimeout,
    ConnectRequest,
)
from shared.connections.client.sessions import SessionCache
from shared.connections.errors import NotAuthorized, ServerRefused, ServerUnavailable
from shared.errors import ForbiddenAddress, InvalidRequest, NotConfigured, NotFound
from shared.outbound import AnswerTooLarge
from tests.connections.calls import CALLBACK, add, connect
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.sse_process import SseProcess
from tests.connections.world import SECRET, StateFolder
from tests.waiting import until

TOOLS = ["add", "fail", "large", "count", "sleep"]


@pytest.mark.parametrize("is_old", [False, True])
async def test_server_is_connected_and_used(
    connections: Connections, server: McpWorld, is_old: bool
) -> None:
    server.gate.is_old = is_old
    connected = await connect(connections, server.url)
    client_id = connected.record.id
    assert [tool["name"] for tool in connected.offer.tools] == TOOLS
    assert [resource["uri"] for resource in connected.offer.resources] == ["note://one"]
    assert [prompt["name"] for prompt in connected.offer.prompts] == ["review"]
    assert await add(connections, client_id) == {"result": 5}
    tools = await connections.list_tools("alice", client_id)
    assert tools == connected.offer.tools
    read = await connections.read_resource("alice", client_id, "note://one")
    assert read["contents"][0]["text"] == "noted"
    prompt = await connections.get_prompt("alice", client_id, "review", {"language": "Go"})
    assert prompt["messages"][0]["content"]["text"] == "Review this Go"


async def test_another_instance_uses_the_connection_without_a_round_trip_for_connecting(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    client_id = (await connect(make_connections(), server.url)).record.id
    server.gate.methods.clear()
    assert await add(make_connections(), client_id) == {"result": 5}
    assert server.gate.methods[0] == "tools/call"
    assert "server/discover" not in server.gate.methods


async def test_another_instance_asks_an_old_server_for_nothing_but_its_handshake(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    server.gate.is_old = True
    client_id = (await connect(make_connections(), server.url)).record.id
    server.gate.methods.clear()
    assert await add(make_connections(), client_id) == {"result": 5}
    assert server.gate.methods[0] == "initialize"


async def test_other_principals_connection_is_unknown(
    connections: Connections, server: McpWorld
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    for use in (
        connections.client("bob", client_id),
        connections.list_tools("bob", client_id),
        connections.disconnect("bob", client_id),
        connections.client("alice", "../../x"),
        connections.client("alice", "00000000-0000-0000-0000-000000000000"),
    ):
        with pytest.raises(NotFound):
            await use
    assert await connections.clients("bob") == []
    assert await add(connections, client_id) == {"result": 5}


async def test_disconnected_connection_is_gone_for_every_instance(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    one, two = make_connections(), make_connections()
    client_id = (await connect(one, server.url)).record.id
    assert await add(two, client_id) == {"result": 5}
    await one.disconnect("alice", client_id)
    with pytest.raises(NotFound):
        await add(two, client_id)
    assert (one.live_sessions, two.live_sessions, store.objects) == (0, 0, {})


@pytest.mark.parametrize("is_old", [False, True])
async def test_server_that_restarts_is_reconnected(
    connections: Connections, server: McpWorld, is_old: bool
) -> None:
    server.gate.is_old = is_old
    client_id = (await connect(connections, server.url)).record.id
    server.running.restart()
    assert await add(connections, client_id) == {"result": 5}


async def test_server_of_another_era_after_its_restart_is_reconnected(
    connections: Connections, server: McpWorld
) -> None:
    server.gate.is_old = True
    client_id = (await connect(connections, server.url)).record.id
    server.gate.is_old = False
    server.running.restart()
    assert await add(connections, client_id) == {"result": 5}
    record = await connections.client("alice", client_id)
    assert record.negotiated
    assert record.negotiated.protocol_version == "2026-07-28"


async def test_server_that_is_down_is_reported_and_comes_back(
    connections: Connections, server: McpWorld
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    server.running.stop()
    for _ in range(2):
        with pytest.raises(ServerUnavailable):
            await add(connections, client_id)
    server.running.start()
    assert await add(connections, client_id) == {"result": 5}


async def test_unreachable_server_leaves_no_connection(
    connections: Connections, store: StateFolder, unused_port: int
) -> None:
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        await connect(connections, f"http://127.0.0.1:{unused_port}/mcp")
    assert (store.objects, connections.live_sessions) == ({}, 0)


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("status", [401, 403])
async def test_server_that_refuses_says_so(
    connections: Connections, server: McpWorld, status: int, transport: str
) -> None:
    server.gate.broken_with = status
    with pytest.raises(NotAuthorized, match=rf"answered {status}: .*auth_type"):
        await connect(connections, server.url, transport=transport)


async def test_server_that_fails_says_so(connections: Connections, server: McpWorld) -> None:
    server.gate.broken_with = 500
    with pytest.raises(ServerUnavailable, match="status 500"):
        await connect(connections, server.url)


async def test_private_address_is_refused(
    make_connections: MakeConnections, store: StateFolder, server: McpWorld
) -> None:
    connections = make_connections(ConnectionsConfig(encryption_keys=[KEY]))
    for url in (server.url, server.url.replace("http:", "https:")):
        with pytest.raises(ForbiddenAddress, match="CONNECTIONS_ALLOW_PRIVATE_NETWORKS"):
            await connect(connections, url)
    refused = set()
    for host in ("169.254.169.254", "10.0.0.1", "127.0.0.1", "does-not-exist.invalid"):
        with pytest.raises(ForbiddenAddress) as raised:
            await connect(connections, f"https://{host}/mcp")
        refused.add(raised.value.detail.replace(host, "the host"))
    assert len(refused) == 1
    with pytest.raises(ForbiddenAddress, match="https://"):
        await connect(connections, "ftp://a.example/mcp")
    assert (store.objects, server.gate.methods) == ({}, [])


async def test_bearer_token_is_sent_stored_encrypted_and_never_shown(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    server.gate.token = SECRET
    connected = await connect(
        make_connections(), server.url, auth_type="bearer", bearer_token=SecretStr(SECRET)
    )
    assert SECRET not in store.text
    assert SECRET not in repr(connected)
    assert await add(make_connections(), connected.record.id) == {"result": 5}
    assert set(server.gate.authorizations) == {f"Bearer {SECRET}"}


async def test_key_goes_out_of_use_once_its_connections_have_been_used_with_the_next(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    server.gate.token = SECRET
    client_id = (
        await connect(
            make_connections(), server.url, auth_type="bearer", bearer_token=SecretStr(SECRET)
        )
    ).record.id
    both = ConnectionsConfig(allow_private=True, encryption_keys=[b"n" * 32, KEY])
    assert await add(make_connections(both), client_id) == {"result": 5}
    next_only = ConnectionsConfig(allow_private=True, encryption_keys=[b"n" * 32])
    assert await add(make_connections(next_only), client_id) == {"result": 5}
    with pytest.raises(NotConfigured, match="CONNECTIONS_ENCRYPTION_KEY"):
        await add(make_connections(), client_id)


async def test_sealed_secrets_of_another_record_open_nothing(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    server.gate.token = SECRET
    fields: dict[str, Any] = {"auth_type": "bearer", "bearer_token": SecretStr(SECRET)}
    connections = make_connections()
    mine = (await connect(connections, server.url, **fields)).record.id
    theirs = (await connect(connections, server.url, principal="bob", **fields)).record.id
    names = {name.rpartition("/")[2][:-5]: name for name in store.objects}
    record = json.loads(store.objects[names[mine]])
    record["sealed"] = json.loads(store.objects[names[theirs]])["sealed"]
    store.put(names[mine], json.dumps(record).encode())
    with pytest.raises(NotConfigured):
        await add(make_connections(), mine)


async def test_without_a_key_only_credentials_are_refused(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    connections = make_connections(ConnectionsConfig(allow_private=True))
    await connect(connections, server.url)
    with pytest.raises(NotConfigured, match="CONNECTIONS_ENCRYPTION_KEY"):
        await connect(connections, server.url, auth_type="bearer", bearer_token=SecretStr("x"))


async def test_local_work_generates_a_key_once(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    server.gate.token = SECRET
    config = ConnectionsConfig(allow_private=True, generates_key=True)
    connected = await connect(
        make_connections(config), server.url, auth_type="bearer", bearer_token=SecretStr(SECRET)
    )
    assert await add(make_connections(config), connected.record.id) == {"result": 5}
    assert len(await make_connections(config).clients("alice")) == 1


async def test_tools_failure_is_a_result(connections: Connections, server: McpWorld) -> None:
    client_id = (await connect(connections, server.url)).record.id
    result = await connections.call_tool("alice", client_id, "fail", {})
    assert result["isError"]
    assert "it went wrong" in result["content"][0]["text"]
    with pytest.raises(ServerRefused, match="The MCP server says"):
        await connections.get_prompt("alice", client_id, "unknown", {})


async def test_progress_is_passed_on(connections: Connections, server: McpWorld) -> None:
    client_id = (await connect(connections, server.url)).record.id
    seen = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    await connections.call_tool("alice", client_id, "count", {}, report_progress=report)
    assert seen == [(1, 2, "step 1"), (2, 2, "step 2")]


async def test_slow_call_times_out_and_the_session_lives_on(
    connections: Connections, server: McpWorld
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    with pytest.raises(ConnectionTimeout) as raised:
        await connections.call_tool("alice", client_id, "sleep", {"seconds": 20}, timeout=0.2)
    assert (raised.value.status, raised.value.code) == (408, "deadline_exceeded")
    assert await add(connections, client_id) == {"result": 5}
    assert server.gate.methods.count("server/discover") == 1


async def test_too_large_an_answer_fails_alone(connections: Connections, server: McpWorld) -> None:
    client_id = (await connect(connections, server.url)).record.id
    with pytest.raises(AnswerTooLarge):
        await connections.call_tool("alice", client_id, "large", {"size": 9 * 1024 * 1024})
    assert await add(connections, client_id) == {"result": 5}


async def test_calls_run_at_the_same_time(connections: Connections, server: McpWorld) -> None:
    client_id = (await connect(connections, server.url)).record.id
    results = await asyncio.gather(*(add(connections, client_id) for _ in range(20)))
    assert results == [{"result": 5}] * 20


async def test_sessions_are_bounded_and_closed_when_idle(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    connections = make_connections(sessions=SessionCache(limit=2, idle_seconds=0.1))
    ids = [(await connect(connections, server.url)).record.id for _ in range(4)]
    assert connections.live_sessions <= 2
    await until_no_session_is_open(connections)
    assert await add(connections, ids[0]) == {"result": 5}


async def test_using_a_connection_writes_nothing(
    connections: Connections, server: McpWorld, store: StateFolder
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    writes = store.writes
    for _ in range(3):
        await add(connections, client_id)
    assert store.writes == writes


async def test_sse_server_is_connected_and_used_and_reconnected(connections: Connections) -> None:
    with SseProcess() as old:
        connected = await connect(connections, old.url, transport="sse")
        client_id = connected.record.id
        assert [tool["name"] for tool in connected.offer.tools] == TOOLS
        assert await add(connections, client_id) == {"result": 5}
    with pytest.raises(ServerUnavailable):
        await connections.list_tools("alice", client_id)
    with SseProcess(old.port):
        tools = await connections.list_tools("alice", client_id)
        assert [tool["name"] for tool in tools] == TOOLS
        assert await add(connections, client_id) == {"result": 5}


async def until_no_session_is_open(connections: Connections) -> None:
    await until(lambda: connections.live_sessions == 0)


async def test_sse_server_that_restarted_while_nobody_called_is_called_in_a_new_session(
    connections: Connections,
) -> None:
    with SseProcess() as old:
        client_id = (await connect(connections, old.url, transport="sse")).record.id
    await until_no_session_is_open(connections)
    with SseProcess(old.port):
        assert await add(connections, client_id) == {"result": 5}


async def test_command_that_ended_while_nobody_called_is_started_again(
    make_connections: MakeConnections,
) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{STDIO_SERVER}"
    argv = [sys.executable, "-c", program]
    connections = make_connections(ConnectionsConfig(stdio_commands={"local": argv}))
    request = ConnectRequest(transport="stdio", command="local")
    connected = await connections.connect("alice", request, CALLBACK)
    assert isinstance(connected, Connected)
    client_id = connected.record.id
    result = await connections.call_tool("alice", client_id, "process_id", {})
    os.kill(result["structuredContent"]["result"], signal.SIGKILL)
    await until_no_session_is_open(connections)
    assert await add(connections, client_id) == {"result": 5}


STDIO_SERVER = """
import os, sys
from tests.connections.world import make_server
server = make_server()

@server.tool()
def environment() -> str:
    return ",".join(sorted(os.environ))

@server.tool()
def process_id() -> int:
    return os.getpid()

print("noise", file=sys.stderr)
server.run("stdio")
"""


async def test_wrong_transport_is_told(connections: Connections, server: McpWorld) -> None:
    with pytest.raises(ServerUnavailable, match="transport"):
        await connect(connections, server.url, transport="sse")
    with SseProcess() as sse, pytest.raises(ServerUnavailable, match="transport"):
        await connect(connections, sse.url)


async def test_command_of_the_operators_is_started_without_our_settings(
    make_connections: MakeConnections,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{STDIO_SERVER}"
    argv = [sys.executable, "-c", program]
    connections = make_connections(ConnectionsConfig(stdio_commands={"local": argv}))
    request = ConnectRequest(transport="stdio", command=["local"])
    connected = await connections.connect("alice", request, CALLBACK)
    assert isinstance(connected, Connected)
    client_id = connected.record.id
    result = await connections.call_tool("alice", client_id, "environment", {})
    names = result["structuredContent"]["result"].split(",")
    assert "OPENAI_API_KEY" not in names
    assert await add(connections, client_id) == {"result": 5}
    assert "noise" not in capfd.readouterr().err


@pytest.mark.parametrize("command", ["sh", ["local", "-c"], ["local", "x"], "local -c", []])
async def test_any_other_command_is_refused(
    make_connections: MakeConnections, command: Any
) -> None:
    connections = make_connections(ConnectionsConfig(stdio_commands={"local": ["false"]}))
    request = ConnectRequest(transport="stdio", command=command)
    with pytest.raises(InvalidRequest):
        await connections.connect("alice", request, CALLBACK)


async def test_command_that_does_not_run_is_no_connection(
    make_connections: MakeConnections, store: StateFolder
) -> None:
    commands = {"false": ["false"], "missing": ["/does/not/exist"]}
    connections = make_connections(ConnectionsConfig(stdio_commands=commands))
    for name in commands:
        with pytest.raises(ServerUnavailable):
            await connections.connect(
                "alice", ConnectRequest(transport="stdio", command=name), CALLBACK
            )
    assert store.objects == {}
