"""The resources, templates and prompts of connections at ``/mcp``, as clients see them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from shared.app import create_app
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import ThreadServer, digest
from tests.connections.conftest import McpWorld
from tests.connections.hostile import Exchange, Hostile, Trick, results
from tests.mcp.support import HEADERS, TIMEOUT, answers, connected, request

ALICE, BOB, CAROL = "key-of-alice", "key-of-bob", "key-of-carol-without-connections"
PROBLEMS = "openai-mcp-functions/connection-problems"
OWN_TEMPLATES = ["media://{id}", "conversation://{id}"]


@pytest.fixture
def share() -> float:
    """Seconds that a list waits for a server."""
    return 30


@pytest.fixture
def for_completions() -> float:
    """Seconds that a server has for a completion."""
    return 30


@pytest.fixture
def origin(environment: dict[str, str], share: float, for_completions: float) -> Iterator[str]:
    keys = {
        "alice": digest(ALICE),
        "bob": digest(BOB),
        "carol": {"sha256": digest(CAROL), "scopes": ["tools"]},
    }
    ours = {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps(keys),
        "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
    }
    timing = Timing(listing=share, completion=for_completions)
    app = create_app(load_settings(environment | ours), timing)
    with ThreadServer(app) as server:
        yield server.origin


@pytest.fixture
async def connect(origin: str) -> AsyncIterator[Any]:
    """Makes a connection of Alice's to a server."""
    headers = {"Authorization": f"Bearer {ALICE}"}
    async with httpx2.AsyncClient(base_url=origin, headers=headers, timeout=TIMEOUT) as api:

        async def make(url: str, name: str) -> None:
            response = await api.post("/mcp/connect", json={"mcp_url": url, "name": name})
            assert response.status_code == 201, response.text

        yield make


def client_of(
    origin: str, mode: str = "auto", key: str = ALICE, query: str = ""
) -> AbstractAsyncContextManager[Client]:
    return connected(f"{origin}/mcp{query}", mode, {"Authorization": f"Bearer {key}"})


@asynccontextmanager
async def hostile(connect: Any, trick: Trick) -> AsyncIterator[None]:
    """Connects to a server that means harm."""
    with ThreadServer(Hostile({"mcp": trick})) as server:
        await connect(f"{server.origin}/mcp", "odd")
        yield


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_resources_of_connections_are_listed_and_read_by_the_same_names(
    origin: str, connect: Any, server: McpWorld, mode: str
) -> None:
    await connect(server.url, "files")
    async with client_of(origin, mode) as client:
        listed = (await client.list_resources()).resources
        assert [each.uri for each in listed] == [
            "models://supported",
            "connection://files/note://one",
        ]
        note = listed[1]
        assert (note.name, note.title) == ("files__note", "files: note")
        [contents] = (await client.read_resource(note.uri)).contents
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == [
            *OWN_TEMPLATES,
            "connection://files/note://{topic}/{number}",
        ]
        [filled] = (await client.read_resource("connection://files/note://tea/2")).contents
    assert isinstance(contents, TextResourceContents)
    assert (contents.uri, contents.text) == (note.uri, "noted")
    assert isinstance(filled, TextResourceContents)
    assert filled.text == "tea 2"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_prompts_of_connections_are_listed_and_got_by_the_same_names(
    origin: str, connect: Any, server: McpWorld, mode: str
) -> None:
    await connect(server.url, "files")
    async with client_of(origin, mode) as client:
        [prompt] = (await client.list_prompts()).prompts
        assert (prompt.name, prompt.title) == ("files__review", "files: review")
        assert [each.name for each in prompt.arguments or ()] == ["language"]
        [message] = (await client.get_prompt(prompt.name, {"language": "Python"})).messages
        with pytest.raises(MCPError, match="no connection of this name"):
            await client.get_prompt("other__review", {"language": "Python"})
    assert isinstance(message.content, TextContent)
    assert (message.role, message.content.text) == ("user", "Review this Python")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_arguments_are_completed_by_the_server_that_has_them(
    origin: str, connect: Any, server: McpWorld, mode: str
) -> None:
    await connect(server.url, "files")
    prompt = PromptReference(name="files__review")
    template = ResourceTemplateReference(uri="connection://files/note://{topic}/{number}")
    async with client_of(origin, mode) as client:
        made = (await client.complete(prompt, {"name": "language", "value": "Py"})).completion
        assert made.values == ["Py: language of review with ''"]
        assert (made.total, made.has_more) == (7, True)
        made = (
            await client.complete(template, {"name": "number", "value": "1"}, {"topic": "tea"})
        ).completion
        assert made.values == ["1: number of note://{topic}/{number} with 'tea'"]
        with pytest.raises(MCPError, match="no connection of this name"):
            await client.complete(
                PromptReference(name="other__review"), {"name": "language", "value": ""}
            )
    async with client_of(origin, mode, key=BOB) as client:
        with pytest.raises(MCPError, match="no connection of this name"):
            await client.complete(prompt, {"name": "language", "value": ""})


async def test_values_of_completions_are_cleaned_and_short_and_a_server_may_have_none(
    origin: str, connect: Any
) -> None:
    values = ["a\u200bb", "x" * 5000, *(str(number) for number in range(98))]
    reference, argument = PromptReference(name="odd__any"), {"name": "any", "value": ""}

    async def refuse(exchange: Exchange) -> None:
        if exchange.message.get("method") != "completion/complete":
            return await exchange.reply()
        error = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        answer = {"jsonrpc": "2.0", "id": exchange.message["id"], "error": error}
        return await exchange.respond(json.dumps(answer).encode())

    async with client_of(origin) as client:
        trick = results(completion_complete={"completion": {"values": values}})
        async with hostile(connect, trick):
            made = (await client.complete(reference, argument)).completion
        assert made.values == ["ab", *(str(number) for number in range(98))]
        async with hostile(connect, refuse):
            reference = PromptReference(name="odd_2__any")
            made = (await client.complete(reference, argument)).completion
        assert made.values == []


@pytest.mark.parametrize("for_completions", [0.5])
async def test_server_that_does_not_complete_in_time_is_told_of(origin: str, connect: Any) -> None:
    async def late(exchange: Exchange) -> None:
        if exchange.message.get("method") == "completion/complete":
            await asyncio.Event().wait()
        await exchange.reply()

    async with hostile(connect, late), client_of(origin) as client:
        with pytest.raises(MCPError) as raised:
            await client.complete(PromptReference(name="odd__any"), {"name": "any", "value": ""})
    assert raised.value.message == "The MCP server did not answer within 0.5 s."


async def test_server_promises_no_notice_of_changed_lists(origin: str) -> None:
    async with client_of(origin, "legacy") as client:
        able = client.server_capabilities
    offered = (able.tools, able.resources, able.prompts)
    assert [each.list_changed if each else None for each in offered] == [False, False, False]


async def test_lists_are_the_callers_own_and_narrowed_by_the_query(
    origin: str, connect: Any, server: McpWorld
) -> None:
    await connect(server.url, "files")
    for key, query in ((BOB, ""), (CAROL, ""), (ALICE, "?connections=none")):
        async with client_of(origin, key=key, query=query) as client:
            assert len((await client.list_resources()).resources) == 1
            assert len((await client.list_resource_templates()).resource_templates) == 2
            assert (await client.list_prompts()).prompts == []
            with pytest.raises(MCPError):
                await client.get_prompt("files__review", {"language": "Python"})
    async with client_of(origin, query="?connections=files") as client:
        assert len((await client.list_prompts()).prompts) == 1


async def test_lists_may_be_kept_as_long_as_nothing_is_missing(
    origin: str, connect: Any, server: McpWorld
) -> None:
    await connect(server.url, "files")
    async with client_of(origin) as client:
        prompts = await client.list_prompts()
        resources = await client.list_resources()
    assert (prompts.ttl_ms, prompts.cache_scope) == (60_000, "private")
    # The next call may make a picture, which is a resource.
    assert (resources.ttl_ms, resources.cache_scope) == (0, "private")


@pytest.mark.parametrize("share", [0.5])
async def test_server_that_does_not_answer_is_left_out_after_its_share(
    origin: str, connect: Any
) -> None:
    is_late = False

    async def late(exchange: Exchange) -> None:
        if is_late:
            await asyncio.Event().wait()
        await exchange.reply()

    async with hostile(connect, late), client_of(origin) as client:
        is_late = True
        lists: list[Any] = [
            await client.list_resources(),
            await client.list_resource_templates(),
            await client.list_prompts(),
        ]
    for listed in lists:
        [problem] = (listed.meta or {})[PROBLEMS]
        assert (problem["name"], problem["reason"], listed.ttl_ms) == ("odd", "timed_out", 0)
    assert [each.uri for each in lists[0].resources] == ["models://supported"]


async def test_entries_are_cleaned_and_cut(origin: str, connect: Any) -> None:
    many = [{"name": f"p{number}", "description": "x" * 5000} for number in range(600)]
    icon = {"src": "https://tracker.example/pixel.png"}
    lists = {
        "prompts_list": {"prompts": [{"name": "hid\u200bden"}, *many]},
        "resources_list": {
            "resources": [
                {"uri": "a://b", "name": "b\u202e", "description": "d\u200b", "icons": [icon]}
            ]
        },
    }
    async with hostile(connect, results(**lists)), client_of(origin) as client:
        prompts = await client.list_prompts()
        resources = await client.list_resources()
    size = len(prompts.model_dump_json(by_alias=True))
    assert 0 < len(prompts.prompts) < 500
    assert size < 450_000
    [problem] = (prompts.meta or {})[PROBLEMS]
    assert problem["reason"] == "left_out"
    assert "hidden' is left out" in problem["detail"]
    [_, theirs] = resources.resources
    assert (theirs.uri, theirs.name, theirs.title) == ("connection://odd/a://b", "odd__b", "odd: b")
    assert (theirs.description, theirs.icons) == ("d", None)


async def test_prompt_names_its_resources_as_they_are_read_here_and_is_refused_where_too_large(
    origin: str, connect: Any
) -> None:
    link = {"type": "resource_link", "uri": "a://b", "name": "b"}
    ask = {"messages": [{"role": "user", "content": link}]}
    text = {"type": "text", "text": "x" * 950_000}
    async with client_of(origin) as client:
        async with hostile(connect, results(prompts_get=ask)):
            [message] = (await client.get_prompt("odd__any")).messages
        async with hostile(
            connect, results(prompts_get={"messages": [{"role": "user", "content": text}]})
        ):
            with pytest.raises(MCPError, match="more than the 900000 characters"):
                await client.get_prompt("odd_2__any")
    assert message.content.uri == "connection://odd/a://b"  # type: ignore[union-attr]


async def test_messages_of_prompts_have_the_kinds_of_content_that_clients_take(
    origin: str, connect: Any
) -> None:
    link = {"type": "resource_link", "uri": "a://b", "name": "b"}
    trick = results(prompts_get={"messages": [{"role": "user", "content": link}]})
    text = {"type": "text", "text": "[b: connection://odd/a://b]"}
    async with hostile(connect, trick):
        async with client_of(origin, query="?content=text") as client:
            [message] = (await client.get_prompt("odd__any")).messages
        assert message.content == TextContent(text=text["text"])
        # Revision 2025-03-26 has no links.
        headers = HEADERS | {"Authorization": f"Bearer {ALICE}"}
        async with httpx2.AsyncClient(base_url=origin, headers=headers) as wire:
            got = await wire.post("/mcp", json=request(1, "prompts/get", {"name": "odd__any"}))
        [answer] = answers(got)
    assert answer["result"]["messages"] == [{"role": "user", "content": text}]
