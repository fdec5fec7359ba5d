"""A budget in dollars under everything at once: streams, callers who leave, agents, images."""

import asyncio
import json

import httpx2
import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, KEY, StandIn, ThreadServer, digest
from tests.usage.test_doors import leave_stream, usage_of
from tests.waiting import until

BUDGET = 0.15
PRICES = {"gpt-6-luna": {"input": 10, "output": 20}, "gpt-image-2.5-flare": {"image": 0.01}}
REFUSED = 429


async def spend(api: httpx2.AsyncClient, number: int) -> int:
    """Makes one paid call of some kind, and returns its status."""
    chat = {"message": f"Number {number}", "tools": ["generate_image", "generate"]}
    match number % 5:
        case 0:
            response = await api.post(
                "/tools/generate_image", json={"prompt": "x", "size": "32x32"}
            )
        case 1:
            response = await api.post("/chat", json={**chat, "stream": True})
        case 2:
            await leave_stream(api, "/chat", {**chat, "stream": True})
            return 200
        case 3:
            response = await api.post("/chat", json={**chat, "message": "an agent of rounds"})
        case _:
            messages = [{"role": "user", "content": "Hello"}]
            body = {"model": "gpt-6-luna", "messages": messages, "max_tokens": 100}
            response = await api.post("/v1/chat/completions", json=body)
    return response.status_code


@pytest.mark.any_python
async def test_budget_in_dollars_holds_under_all_kinds_of_calls_at_once(
    stored_environment: dict[str, str], stand_in: StandIn
) -> None:
    keys = {"alice": {"sha256": digest(KEY), "limits": {"usd_per_day": BUDGET}}}
    settings = stored_environment | {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps(keys),
        "PRICES": json.dumps(PRICES),
    }
    agent = {"path": "chat/", "body": "an agent of rounds"}
    for turn, tool in ((0, "generate_image"), (1, "generate")):
        stand_in.fault(match={**agent, "round": turn}, call_tools=[tool], times=100)
    with ThreadServer(create_app(load_settings(settings))) as server:
        limits = httpx2.Limits(max_connections=50)
        async with httpx2.AsyncClient(
            base_url=server.origin, headers=AUTH, timeout=60, limits=limits
        ) as api:
            statuses: list[int] = []
            while statuses.count(REFUSED) < 20:
                batch = range(len(statuses), len(statuses) + 15)
                statuses += await asyncio.gather(*(spend(api, number) for number in batch))

            async def is_settled() -> bool:
                records = (await api.get("/usage/records", params={"limit": 1000})).json()[
                    "records"
                ]
                return all(each["status"] != "in_progress" for each in records)

            await until(is_settled)
            spent = (await usage_of(api))["total"]["cost_usd"]
    assert 0 < spent <= BUDGET
