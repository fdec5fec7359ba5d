"""Live sessions: what breaks one, what becomes of the calls beside it, and how much they may bring."""

import asyncio
import gc
import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mcp.client.stdio
import pytest

from shared.connections import (
    Connections,
    ConnectionsConfig,
    ConnectRequest,
    OperatorServer,
)
from shared.connections.client import sessions
from shared.connections.client.sessions import SessionCache
from shared.connections.errors import (
    ConnectionTimeout,
    NotAuthorized,
    ServerRefused,
    ServerUnavailable,
)
from shared.errors import NotFound
from shared.outbound import AnswerTooLarge
from shared.outbound.transport import MAX_CONNECTIONS
from shared.telemetry import RequestRecord, current_record, recording
from shared.timing import Timing
from tests.conftest import ThreadServer
from tests.connections import foreign
from tests.connections.authority import Authority
from tests.connections.authorizing import begin, finish
from tests.connections.calls import CALLBACK, add, connect
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.hostile import Exchange, Hostile, serving
from tests.connections.sse_process import SseProcess
from tests.connections.world import StateFolder
from tests.waiting import until

MIB = 1024 * 1024


async def call(connections: Connections, client_id: str, tool: str, **arguments: Any) -> Any:
    return await connections.call_tool("alice", client_id, tool, arguments)


async def complete(connections: Connections, client_id: str) -> None:
    argument = {"name": "any", "value": ""}
    await connections.complete("alice", client_id, ("prompt", "any"), argument, {})


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("status", [0, 404, 500])
async def test_failing_call_leaves_the_one_beside_it_alone(
    connections: Connections, server: McpWorld, is_old: bool, status: int
) -> None:
    server.gate.is_old = is_old
    client_id = (await connect(connections, server.url)).record.id
    server.gate.held_tool = "add"
    server.gate.broken_tools = {"fail": status}
    running = asyncio.create_task(add(connections, client_id))
    await until(lambda: "tools/call" in server.gate.methods)
    with pytest.raises((ServerUnavailable, ServerRefused)):
        await call(connections, client_id, "fail")
    server.gate.released.set()
    assert await running == {"result": 5}
    assert await add(connections, client_id) == {"result": 5}


async def test_connection_that_is_ended_ends_what_runs_in_it(
    connections: Connections, server: McpWorld
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    server.gate.held_tool = "add"
    running = asyncio.create_task(add(connections, client_id))
    await until(lambda: "tools/call" in server.gate.methods)
    await connections.disconnect("alice", client_id)
    with pytest.raises(NotFound, match="ended while this call was under way"):
        await running
    server.gate.released.set()


async def test_connecting_has_no_more_than_the_time_of_a_completion_and_lists_have_more(
    make_connections: MakeConnections,
) -> None:
    is_slow, is_ready = threading.Event(), threading.Event()

    async def slow(exchange: Exchange) -> None:
        if is_slow.is_set():
            await until(is_ready.is_set)
        await exchange.reply()

    with serving(slow) as (_, url):
        client_id = (await connect(make_connections(), url)).record.id
        is_slow.set()
        restarted = make_connections(timing=Timing(completion=0.3, listing=60))
        for _ in range(2):
            with pytest.raises(ConnectionTimeout, match=r"did not answer within 0\.3 s"):
                await complete(restarted, client_id)
        listing = asyncio.create_task(restarted.cached("tools", "alice", client_id))
        with pytest.raises(ConnectionTimeout):
            await complete(restarted, client_id)
        is_ready.set()
        assert [tool["name"] for tool in await listing] == ["tool"]
    assert restarted.live_sessions == 1


async def test_who_gives_up_connecting_does_not_wait_for_the_end_of_a_command(
    make_connections: MakeConnections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CLOSE_SECONDS", 300.0)
    monkeypatch.setattr(mcp.client.stdio, "PROCESS_TERMINATION_TIMEOUT", 60.0)
    noted = tmp_path / "process"
    # It has read the first message, so it is no longer being started.
    script = f"read line; echo $$ > {noted}.new; mv {noted}.new {noted}; sleep 300"
    config = ConnectionsConfig(
        stdio_commands={"local": ["sh", "-c", script]}, encryption_keys=[KEY]
    )
    request = ConnectRequest(transport="stdio", command=["local"])
    connecting = asyncio.create_task(make_connections(config).connect("alice", request, CALLBACK))
    await until(noted.exists)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    # It is there still, and has the time that it is left. The group is ended with what it started.
    os.killpg(int(noted.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("listed", ["tools", "resources", "prompts"])
async def test_connection_that_is_ended_is_not_asked_for_a_list_again(
    connections: Connections, listed: str
) -> None:
    is_stalled = asyncio.Event()

    async def stall(exchange: Exchange) -> None:
        if is_stalled.is_set() and exchange.message.get("method") == f"{listed}/list":
            await asyncio.Event().wait()
        await exchange.reply()

    hostile = Hostile({"mcp": stall})
    with ThreadServer(hostile) as running_server:
        client_id = (await connect(connections, f"{running_server.origin}/mcp")).record.id
        is_stalled.set()
        asked = len(hostile.seen)
        use = getattr(connections, f"list_{listed}")
        running = asyncio.create_task(use("alice", client_id))
        await until(lambda: len(hostile.seen) > asked)
        await connections.disconnect("alice", client_id)
        with pytest.raises(NotFound, match="ended while this call was under way"):
            await running
        assert len(hostile.seen) == asked + 1
    assert connections.live_sessions == 0


async def test_caller_who_leaves_while_storage_hangs_leaves_no_open_session(
    connections: Connections, server: McpWorld, store: StateFolder
) -> None:
    store.hangs = True
    connecting = asyncio.create_task(connect(connections, server.url))
    await store.hung.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert connections.live_sessions == 0
    assert store.objects == {}


async def test_server_that_gave_up_the_older_era_is_called_as_before(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    server.gate.is_old = True
    client_id = (await connect(make_connections(), server.url)).record.id
    server.gate.is_old, server.gate.is_new = False, True
    server.running.restart()
    for _ in range(2):
        assert await add(make_connections(), client_id) == {"result": 5}
    assert server.gate.methods.count("initialize") == 2


@pytest.mark.parametrize("is_another_instance", [False, True])
async def test_server_that_went_back_to_the_older_era_is_called_as_before(
    make_connections: MakeConnections, is_another_instance: bool
) -> None:
    connections = make_connections()
    with foreign.running("sdk2", "http") as url:
        client_id = (await connect(connections, url)).record.id
    with foreign.running("sdk1", "http", urlsplit(url).port or 0):
        if is_another_instance:
            connections = make_connections()
        assert await add(connections, client_id) == {"result": 5}
    record = await connections.client("alice", client_id)
    assert record.negotiated
    assert record.negotiated.discover is None


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [(401, NotAuthorized, "answered 401: "), (503, ServerUnavailable, r"status 503\.")],
)
async def test_sse_server_that_refuses_a_message_says_so_and_is_called_again(
    connections: Connections, status: int, error: type[Exception], sentence: str
) -> None:
    with SseProcess(broken_tools={"fail": status}) as sse:
        client_id = (await connect(connections, sse.url, transport="sse")).record.id
        with pytest.raises(error, match=sentence):
            await call(connections, client_id, "fail")
        assert await add(connections, client_id) == {"result": 5}


async def test_sse_server_that_refuses_the_handshake_says_so(connections: Connections) -> None:
    with SseProcess(is_new=True) as sse, pytest.raises(ServerUnavailable, match="status 400"):
        await connect(connections, sse.url, transport="sse")


async def test_call_that_loses_its_sse_server_ends(connections: Connections) -> None:
    with SseProcess() as sse:
        client_id = (await connect(connections, sse.url, transport="sse")).record.id
        started = asyncio.Event()

        async def report(*_: object) -> None:
            started.set()

        running = asyncio.create_task(
            connections.call_tool(
                "alice",
                client_id,
                "sleep",
                {"seconds": 20},
                report_progress=report,
            )
        )
        await started.wait()
    with pytest.raises(ServerUnavailable):
        await running


async def test_too_large_an_answer_of_an_sse_server_says_so(connections: Connections) -> None:
    with SseProcess() as sse:
        client_id = (await connect(connections, sse.url, transport="sse")).record.id
        assert await call(connections, client_id, "large", size=MIB // 4)
        with pytest.raises(AnswerTooLarge, match=str(MIB)):
            await call(connections, client_id, "large", size=2 * MIB)
        assert await add(connections, client_id) == {"result": 5}


async def test_too_large_an_answer_of_an_older_server_says_so_and_fails_alone(
    connections: Connections, server: McpWorld
) -> None:
    server.gate.is_old = True
    client_id = (await connect(connections, server.url)).record.id
    assert await call(connections, client_id, "large", size=3 * MIB)
    with pytest.raises(AnswerTooLarge, match=str(8 * MIB)):
        await call(connections, client_id, "large", size=9 * MIB)
    assert await add(connections, client_id) == {"result": 5}
    assert server.gate.methods.count("initialize") == 1


@pytest.mark.parametrize("is_old", [False, True])
async def test_too_large_a_listing_is_asked_for_once(
    connections: Connections, server: McpWorld, is_old: bool
) -> None:
    server.gate.is_old = is_old
    client_id = (await connect(connections, server.url)).record.id
    server.more_tools = ["x" * 9 * MIB]
    server.running.restart()
    with pytest.raises(AnswerTooLarge):
        await connections.list_tools("alice", client_id)
    server.gate.methods.clear()
    with pytest.raises(AnswerTooLarge):
        await connections.list_tools("alice", client_id)
    assert server.gate.methods.count("tools/list") == 1


async def test_more_calls_than_a_session_has_connections_wait_for_one_another(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    client_id = (await connect(make_connections(), server.url)).record.id
    (name,) = store.objects
    seconds = 2
    store.put(name, json.dumps(json.loads(store.objects[name]) | {"timeout": seconds}).encode())
    connections = make_connections()
    server.gate.held_tool = "add"
    calls = [asyncio.create_task(add(connections, client_id)) for _ in range(MAX_CONNECTIONS + 5)]
    failed, _ = await asyncio.wait(calls, timeout=2 * seconds, return_when=asyncio.FIRST_EXCEPTION)
    server.gate.released.set()
    assert not failed
    assert await asyncio.gather(*calls) == [{"result": 5}] * len(calls)


async def test_operators_server_has_a_session_for_each_principal(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    server.gate.is_old = True
    config = ConnectionsConfig(
        allow_private=True, operator_servers={"shared": OperatorServer(server.url)}
    )
    connections = make_connections(config)
    for principal in ("alice", "bob", "alice"):
        assert await add(connections, "shared", principal) == {"result": 5}
    assert server.gate.methods.count("initialize") == 2


async def test_failed_connects_leave_nothing_in_memory(
    make_connections: MakeConnections, unused_port: int
) -> None:
    sessions = SessionCache()
    connections = make_connections(sessions=sessions)
    for _ in range(5):
        with pytest.raises(ServerUnavailable):
            await connect(connections, f"http://127.0.0.1:{unused_port}/mcp")
    gc.collect()
    # The interpreter may still hold the frames of the last error.
    assert len(sessions._locks) <= 1


async def test_tokens_that_nobody_uses_are_forgotten(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        made = await begin(connections, server)
        await finish(connections, authority.agree(made.url))
        assert await add(connections, made.record.id) == {"result": 5}
        monkeypatch.setattr("shared.connections.targets.TOKENS_IDLE_SECONDS", 0)
    assert len(connections._targets._tokens) == 1


async def test_stream_of_a_session_logs_nothing_in_the_name_of_the_request_that_opened_it(
    connections: Connections, server: McpWorld
) -> None:
    server.gate.is_old = True
    logged: set[tuple[str, str | None]] = set()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.add((record.getMessage().split()[2], current_record().request_id))

    logger, noting = logging.getLogger("httpx2"), Noting()
    logger.addHandler(noting)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with recording(RequestRecord("first")):
            client_id = (await connect(connections, server.url)).record.id
            await until(lambda: "GET" in {method for method, _ in logged})
        with recording(RequestRecord("second")):
            await add(connections, client_id)
    finally:
        logger.removeHandler(noting)
        logger.setLevel(level)
    assert {id_ for method, id_ in logged if method == "GET"} == {None}
    assert ("POST", "second") in logged
