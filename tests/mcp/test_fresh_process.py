"""The first requests of a process: nothing of MCP is imported, and everybody comes at once."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator

import httpx2
import pytest

from local.server import LOOPBACK
from tests.conftest import AUTH, KEY
from tests.mcp.support import (
    HEADERS,
    PROJECT,
    SERVER_TIME,
    TIMEOUT,
    answers,
    modern_request,
    process_environment,
    request,
)
from tests.ports import free_port

REQUESTS = 50


@pytest.fixture
async def fresh_origin() -> AsyncIterator[str]:
    """Origin of an app in a process that has not answered anything yet."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "local", "--port", str(port)),
        cwd=PROJECT,
        env={**os.environ, **process_environment(MCP_API_KEY=KEY)},
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            while b"is running" not in (line := await process.stdout.readline()):
                assert line, "the app did not start"
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(TIMEOUT):
            await process.communicate()
    assert process.returncode == 0


async def test_50_first_requests_at_once_are_all_answered(fresh_origin: str) -> None:
    call = {"name": "server_time"}
    modern_body, modern_headers = modern_request("tools/call", call)
    async with httpx2.AsyncClient(
        base_url=fresh_origin, headers={**HEADERS, **AUTH}, timeout=TIMEOUT
    ) as http:
        responses = await asyncio.gather(
            *(
                http.post("/mcp", json=modern_body, headers=modern_headers)
                if number % 2
                else http.post("/mcp", json=request(1, "tools/call", call))
                for number in range(REQUESTS)
            )
        )
    results = [answer["result"] for response in responses for answer in answers(response)]
    told = [result["structuredContent"]["server_time"] for result in results]
    assert len(told) == REQUESTS
    assert all(re.fullmatch(SERVER_TIME, text) for text in told)
