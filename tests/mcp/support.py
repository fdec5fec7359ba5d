"""What the tests of the MCP server share: clients of the official SDK, and messages written by hand."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from shared.settings import SETTING_NAMES
from tests.conftest import AUTH

PROJECT = Path(__file__).resolve().parents[2]

TIMEOUT = 60
"""Seconds after which whatever a test waits for has failed."""

MODES = {"auto": "2026-07-28", "legacy": "2025-11-25"}
"""How the official client may negotiate, and the revision that it has to end up with."""

SERVER_TIME = r"\[MCP Server Time\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(UTC\)"

CHAT_ONLY_KEY = "a-key-that-may-only-chat"
PAGE_ORIGIN = "https://page.example"
MCP_ORIGIN = "https://inspector.example"

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
"""What every client of streamable HTTP sends."""


@asynccontextmanager
async def connected(
    url: str, mode: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """A connected client of SDK 2, with the key of the app unless told otherwise."""
    async with (
        httpx2.AsyncClient(headers=AUTH if headers is None else headers, timeout=TIMEOUT) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode=mode,
            read_timeout_seconds=TIMEOUT,
        ) as client,
    ):
        yield client


def request(id_: int | str, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A request of JSON-RPC."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id_, "method": method}
    return message if params is None else {**message, "params": dict(params)}


def notification(method: str) -> dict[str, Any]:
    """A notification of JSON-RPC."""
    return {"jsonrpc": "2.0", "method": method}


def initialize(version: str, id_: int = 1) -> dict[str, Any]:
    """The request with which a client of a handshake revision begins."""
    client_info = {"name": "tests", "version": "1"}
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": client_info}
    return request(id_, "initialize", params)


def modern_request(
    method: str, params: Mapping[str, Any] | None = None, version: str = "2026-07-28"
) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of revision 2026-07-28, and the headers that have to say the same."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": method}
    if params and "name" in params:
        headers["Mcp-Name"] = params["name"]
    return request(1, method, {**(params or {}), "_meta": meta}), headers


def answers(response: httpx2.Response) -> list[Any]:
    """The messages in an answer, whether it is one document or a stream of events."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return [response.json()]
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def process_environment(**settings: str) -> dict[str, str]:
    """App settings for a process: these, and all others blank.

    A blank one counts as unset, and keeps out what the developer's environment and
    local.settings.json hold.
    """
    return {**dict.fromkeys((*SETTING_NAMES, "OPENAI_MODEL"), ""), **settings}
