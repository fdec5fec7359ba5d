"""Connections' tools as the agent sees them."""

import pytest

from shared.auth import Principal
from shared.connections import (
    Connections,
    ConnectionsConfig,
    Listing,
    OperatorServer,
    open_remote_tools,
)
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import DeadlineExceeded, NotFound
from tests.connections.calls import connect
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.world import SECRET, StateFolder

ALICE = Principal("alice", frozenset({"chat"}))


@pytest.fixture
def context(deadline: Deadline) -> CallContext:
    return CallContext(ALICE, deadline)


async def names(connections: Connections, context: CallContext, *wanted: str) -> list[str]:
    toolset = await open_remote_tools(connections, context, list(wanted) or None)
    return [spec.name for spec in await toolset.list(context)]


async def test_tools_are_named_by_their_connection_and_called(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    await connect(connections, server.url, name="My files!")
    toolset = await open_remote_tools(connections, context)
    specs = await toolset.list(context)
    assert [spec.name for spec in specs][:2] == ["My_files__add", "My_files__fail"]
    assert (specs[0].title, specs[0].description) == ("My files!: add", "Adds two numbers.")
    assert set(specs[0].input_schema["properties"]) == {"a", "b"}
    result = await toolset.call("My_files__add", {"a": 1, "b": 1}, context)
    assert (result.structured, result.text, result.is_error) == ({"result": 2}, "2", False)
    failed = await toolset.call("My_files__fail", {}, context)
    assert (failed.is_error, "it went wrong" in failed.text) == (True, True)
    with pytest.raises(NotFound):
        await toolset.call("add", {"a": 1, "b": 1}, context)


async def test_names_never_collide_and_suit_every_provider(
    make_connections: MakeConnections, server: McpWorld, context: CallContext
) -> None:
    config = ConnectionsConfig(
        allow_private=True,
        encryption_keys=[KEY],
        operator_servers={"files": OperatorServer(server.url)},
    )
    connections = make_connections(config)
    for name in ("files", "files", "fi les", "fi__les", "ä" * 64, "x" * 64, "3d-tools"):
        await connect(connections, server.url, name=name)
    found = await names(connections, context)
    assert len(found) == len(set(found)) == 8 * 5
    assert found[0] == "files__add"
    assert all(len(name) <= 64 and name.replace("-", "_").isidentifier() for name in found)


async def test_tools_of_a_server_that_is_named_by_its_address_can_be_called(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    await connect(connections, server.url)
    assert (await names(connections, context))[0] == "_127_0_0_1__add"


async def test_name_of_a_tool_never_comes_to_mean_another_connection(
    make_connections: MakeConnections, server: McpWorld, context: CallContext
) -> None:
    connections = make_connections()
    one, two, three = [
        (await connect(connections, server.url, name="mini")).record.id for _ in range(3)
    ]
    assert (await names(connections, context, two))[0] == "mini_2__add"
    await connections.disconnect("alice", one)
    for instance in (connections, make_connections()):
        prefixes = {name.partition("__")[0] for name in await names(instance, context)}
        assert prefixes == {"mini_2", "mini_3"}
    await connections.disconnect("alice", two)
    await connect(connections, server.url, name="mini")
    prefixes = {name.partition("__")[0] for name in await names(connections, context)}
    assert prefixes == {"mini", "mini_3"}
    assert (await names(connections, context, three))[0] == "mini_3__add"


async def test_odd_names_of_tools_are_made_callable(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    server.more_tools = ["a.b", "a_b", "a-b", "y" * 64, "y" * 63 + "z"]
    server.running.restart()
    await connect(connections, server.url, name="x" * 24)
    toolset = await open_remote_tools(connections, context)
    found = [spec.name for spec in await toolset.list(context)]
    assert len(set(found)) == 10
    assert all(len(name) <= 64 and name.replace("-", "_").isidentifier() for name in found)
    for name in found[5:]:
        assert (await toolset.call(name, {}, context)).text == "done"


async def test_connection_that_is_down_is_reported_and_the_others_work(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    other = McpWorld()
    with other.running:
        down = (await connect(connections, other.url, name="down")).record.id
        await connect(connections, server.url, name="up")
    toolset = await open_remote_tools(connections, context)
    assert {spec.name.partition("__")[0] for spec in await toolset.list(context)} == {"up"}
    (problem,) = toolset.problems
    assert (problem.client_id, problem.name) == (down, "down")
    assert "MCP server" in problem.detail


async def test_connection_that_breaks_later_is_an_error_for_the_model(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    client_id = (await connect(connections, server.url, name="files")).record.id
    toolset = await open_remote_tools(connections, context)
    server.running.stop()
    assert toolset.problems == []
    for _ in range(2):
        result = await toolset.call("files__add", {"a": 1, "b": 1}, context)
        assert result.is_error
    (problem,) = toolset.problems
    assert (problem.client_id, problem.name, problem.detail) == (client_id, "files", result.text)


async def test_wanted_connections_only(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    one = (await connect(connections, server.url, name="one")).record.id
    await connect(connections, server.url, name="two")
    theirs = (await connect(connections, server.url, "bob", name="theirs")).record.id
    assert {name.partition("__")[0] for name in await names(connections, context, one)} == {"one"}
    assert await (await open_remote_tools(connections, context, "none")).list(context) == []
    for unknown in (theirs, "unknown"):
        with pytest.raises(NotFound, match="no connection"):
            await open_remote_tools(connections, context, [one, unknown])


async def test_operators_servers_have_their_token_and_belong_to_everybody(
    make_connections: MakeConnections, server: McpWorld, context: CallContext
) -> None:
    server.gate.token = SECRET
    config = ConnectionsConfig(
        allow_private=True, operator_servers={"shared": OperatorServer(server.url, SECRET)}
    )
    connections = make_connections(config)
    assert (await names(connections, context))[0] == "shared__add"
    assert SECRET not in repr(config)


async def test_tools_are_asked_for_once_in_a_while(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    await connect(connections, server.url)
    server.gate.methods.clear()
    for _ in range(3):
        await names(connections, context)
    assert server.gate.methods == ["tools/list"]


async def test_progress_reaches_the_caller(
    connections: Connections, server: McpWorld, deadline: Deadline
) -> None:
    await connect(connections, server.url, name="files")
    seen = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    context = CallContext(ALICE, deadline, report)
    toolset = await open_remote_tools(connections, context)
    await toolset.call("files__count", {}, context)
    assert seen == ["step 1", "step 2"]


async def test_end_of_the_requests_budget_is_no_answer_for_the_model(
    connections: Connections, server: McpWorld, context: CallContext
) -> None:
    await connect(connections, server.url, name="files")
    toolset = await open_remote_tools(connections, context)
    short = CallContext(ALICE, Deadline.after(0.2))
    with pytest.raises(DeadlineExceeded) as raised:
        async with short.scope():
            await toolset.call("files__sleep", {"seconds": 20}, short)
    assert raised.value.status == 504


async def test_known_lists_of_tools_are_bounded_in_bytes(
    connections: Connections, server: McpWorld, context: CallContext, store: StateFolder
) -> None:
    ids = [(await connect(connections, server.url, name="a")).record.id for _ in range(3)]
    size = (await connections.list_tools("alice", ids[0])).size
    bounded = Connections(
        ConnectionsConfig(allow_private=True, encryption_keys=[KEY]),
        store,
        max_known_bytes=2 * size,
    )

    async def lists(client_id: str) -> Listing:
        return await bounded.cached("tools", "alice", client_id)

    first, second, third = [await lists(client_id) for client_id in ids]
    assert await lists(ids[2]) is third
    assert await lists(ids[1]) is second
    assert await lists(ids[0]) is not first
    await bounded.aclose()
