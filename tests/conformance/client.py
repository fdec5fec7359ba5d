"""The client of the official conformance suite: does through our manager what a scenario wants.

The suite starts it with the URL of its server as the last argument and the scenario in the environment.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
from typing import Any

import httpx2

from shared.app import create_app
from shared.settings import load_settings

KEY = "conformance"


class Refused(Exception):
    """Raised when the manager refuses to connect, as some scenarios want it to."""


async def main(url: str, scenario: str, context: dict[str, Any]) -> int:
    """Connects, lists, calls every tool, and returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            {
                "MCP_API_KEY": KEY,
                "LOCAL_STORAGE_PATH": folder,
                "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
                "LOG_LEVEL": "error",
            }
        )
        app = create_app(settings)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app),
                base_url="http://localhost:7071",
                headers={"X-Api-Key": KEY},
                timeout=30,
            ) as manager,
        ):
            try:
                await use(manager, url, scenario, context)
            except Refused as refusal:
                sys.stderr.write(f"{refusal}\n")
                return 1
    return 0


async def use(
    manager: httpx2.AsyncClient, url: str, scenario: str, context: dict[str, Any]
) -> None:
    """Uses the suite's server as a caller of the manager would, who connects again when told to."""
    for is_last in (False, True):
        client_id = await connect(manager, url, scenario, context)
        is_authorized = await call_all(manager, client_id, context)
        await manager.post("/mcp/disconnect", json={"client_id": client_id})
        if is_authorized:
            return
        if is_last:
            raise Refused("The server refuses what the manager was authorized for.")


async def call_all(manager: httpx2.AsyncClient, client_id: str, context: dict[str, Any]) -> bool:
    """Calls every tool and returns whether the server takes our credentials."""
    listed = await manager.get("/mcp/list_tools", params={"client_id": client_id})
    if listed.status_code != 200:
        return not is_refusal(listed)
    wanted = {each["name"]: each.get("arguments", {}) for each in context.get("toolCalls", [])}
    tools = listed.json()["tools"]
    first = tools[0]["inputSchema"] if tools else {}
    for tool in tools:
        # One scenario wants to see the first tool's schema as it reached us.
        arguments = (
            {"schema": first} if "echo" in tool["name"] and "schema" in tool["name"] else None
        )
        arguments = arguments or wanted.get(tool["name"], example(tool.get("inputSchema", {})))
        body = {"client_id": client_id, "tool_name": tool["name"], "arguments": arguments}
        answer = await manager.post("/mcp/call_tool", json=body)
        if answer.status_code != 200:
            sys.stderr.write(f"{tool['name']}: {answer.text}\n")
            if is_refusal(answer):
                return False
    return True


def is_refusal(answer: httpx2.Response) -> bool:
    """Returns whether the manager says that the server refuses our credentials."""
    return bool(answer.json().get("code") == "provider_credentials")


async def connect(
    manager: httpx2.AsyncClient, url: str, scenario: str, context: dict[str, Any]
) -> str:
    """Connects, with the browser's part of an authorization where there is one."""
    body: dict[str, Any] = {"mcp_url": url}
    if scenario.startswith("auth/"):
        body |= {"auth_type": "oauth"}
        if "client_id" in context:
            body["oauth_client_id"] = context["client_id"]
        if "client_secret" in context:
            body["oauth_client_secret"] = context["client_secret"]
        if "client-credentials" in scenario:
            body["oauth_grant_type"] = "client_credentials"
    response = await manager.post("/mcp/connect", json=body)
    if response.status_code not in (201, 202):
        raise Refused(response.text)
    client_id: str = response.json()["client_id"]
    if response.status_code == 202:
        characters = await authorize(manager, response.json()["authorization_url"])
        confirmation = {"client_id": client_id, "code": characters}
        confirmed = await manager.post("/mcp/oauth/confirm", json=confirmation)
        if confirmed.status_code != 200:
            raise Refused(confirmed.text)
    return client_id


async def authorize(manager: httpx2.AsyncClient, url: str) -> str:
    """Does what the user's browser does: asks, and follows the way back to the manager.

    Returns:
        The characters that it is shown then.
    """
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(url)
    back = answer.headers.get("location", "")
    ended = await manager.get(back.removeprefix("http://localhost:7071"))
    shown = re.search(r"<code>([0-9A-Z]{8})</code>", ended.text)
    if ended.status_code != 200 or shown is None:
        raise Refused(ended.text)
    return shown[1]


def example(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns arguments that fit a tool's schema, as far as the suite's tools need it."""
    values = {"number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}
    return {
        name: each.get("default", values.get(each.get("type", "string"), "text"))
        for name, each in schema.get("properties", {}).items()
    }


if __name__ == "__main__":
    sys.exit(
        asyncio.run(
            main(
                sys.argv[-1],
                os.environ.get("MCP_CONFORMANCE_SCENARIO", ""),
                json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"),
            )
        )
    )
