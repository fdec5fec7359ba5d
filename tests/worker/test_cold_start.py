"""The first requests of a fresh worker."""

import asyncio
from collections import Counter

import httpx2

from tests.worker.process import run_worker

ACCEPT = {"Accept": "application/json, text/event-stream"}
FIRST_REQUESTS = 50


def send(client: httpx2.AsyncClient, number: int) -> asyncio.Task[httpx2.Response]:
    list_tools = {"jsonrpc": "2.0", "id": number, "method": "tools/list"}
    question = {"message": "What is the current server time?"}
    requests = [
        client.build_request("POST", "/mcp", json=list_tools, headers=ACCEPT),
        client.build_request("POST", "/chat", json=question),
        client.build_request("GET", "/health"),
    ]
    return asyncio.create_task(client.send(requests[number % len(requests)]))


async def test_fifty_first_requests_at_once_are_all_answered(
    app_settings: dict[str, str],
) -> None:
    with run_worker(app_settings) as worker:
        async with worker.client() as client:
            responses = await asyncio.gather(*(send(client, n) for n in range(FIRST_REQUESTS)))
    answered = Counter((response.url.path, response.status_code) for response in responses)
    assert answered == {("/mcp", 200): 17, ("/chat", 200): 17, ("/health", 200): 16}
    listed = [response.text for response in responses if response.url.path == "/mcp"]
    assert all('"tools":' in text for text in listed)
