"""Requests as Codex 0.171 sends them, with its texts cut and its ids renamed.

Codex asks models that it knows to write programs against its tools, which come among the items of the
input; others get its tools as functions. A task is a request that is answered with a call, and another
one with the call and its result.
"""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import StandIn
from tests.v1.conftest import Provider
from tests.v1.upstream import EVENT_STREAM, Answer

RESPONSES = "/v1/responses"
REQUESTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "codex.json").read_text())
CALLS = {
    "functions": ("function_call", "exec_command", '{"cmd": "echo hi"}'),
    "code": ("custom_tool_call", "exec", "text(await tools.exec_command())"),
}


def events_of(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize("kind", REQUESTS)
async def test_request_of_codex_goes_on_whole(
    gateway: httpx2.AsyncClient, provider: Provider, kind: str
) -> None:
    completed = {"type": "response.completed", "response": {"status": "completed"}}
    piece = f"event: response.completed\ndata: {json.dumps(completed)}\n\n".encode()
    provider.upstream.answer = Answer([piece], EVENT_STREAM)
    response = await gateway.post(RESPONSES, json=REQUESTS[kind])
    assert response.content == piece
    assert json.loads(provider.upstream.seen[0].body) == REQUESTS[kind]


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("model", ["gpt-6-luna", "agent"])
async def test_task_with_a_call_of_codex_s_tools(
    client: httpx2.AsyncClient, stand_in: StandIn, kind: str, model: str
) -> None:
    request = {**REQUESTS[kind], "model": model}
    *asked, call, result = request["input"]
    item_type, name, arguments = CALLS[kind]
    stand_in.fault(call_tools=[name], tool_arguments=arguments)
    first = events_of(await client.post(RESPONSES, json={**request, "input": asked}))
    (done,) = (event["item"] for event in first if event["type"] == "response.output_item.done")
    assert (done["type"], done["name"]) == (item_type, name)
    assert done.get("input", done.get("arguments")) == arguments
    assert done.get("namespace") == call.get("namespace")
    assert first[-1]["response"]["output"] == [done]
    second = events_of(
        await client.post(RESPONSES, json={**request, "input": [*asked, done, result]})
    )
    assert second[-1]["type"] == "response.completed"
    (message,) = second[-1]["response"]["output"]
    assert message["content"][0]["text"].startswith("[stand-in] The tool answered: ")
    assert [event["sequence_number"] for event in second] == [*range(len(second))]
