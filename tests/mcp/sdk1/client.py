# mypy: ignore-errors
# The type checker sees SDK 2, which has the same package name and other signatures.
"""A client of SDK 1, run by the Python of .venv-mcp1.

Reads {"url", "headers", "calls": [{"name", "arguments"}], "resources": [uri]} from standard input and
writes what the server answered as one JSON document.
"""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

TIMEOUT = 60


async def ask(task):
    async with (
        streamablehttp_client(task["url"], headers=task["headers"]) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        hello = await session.initialize()
        return {
            "protocol_version": hello.protocolVersion,
            "server": hello.serverInfo.name,
            "tools": as_json((await session.list_tools()).tools),
            "resources": as_json((await session.list_resources()).resources),
            "calls": as_json(
                [await session.call_tool(call["name"], call["arguments"]) for call in task["calls"]]
            ),
            "contents": as_json(
                [(await session.read_resource(uri)).contents[0] for uri in task["resources"]]
            ),
        }


def as_json(models):
    return [model.model_dump(mode="json", by_alias=True, exclude_none=True) for model in models]


async def main():
    async with asyncio.timeout(TIMEOUT):
        answer = await ask(json.load(sys.stdin))
    json.dump(answer, sys.stdout)


asyncio.run(main())
