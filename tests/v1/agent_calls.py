"""Calls of the model ``agent`` with tools of the caller's."""

from typing import Any

import httpx2

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "get_weather", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function", **FUNCTION}
CODEX_TOOLS = {
    "type": "additional_tools",
    "role": "developer",
    "tools": [
        {
            "type": "namespace",
            "name": "functions",
            "tools": [{"type": "custom", "name": "exec", "description": "Runs code"}],
        }
    ],
}


def names(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", [])]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def ask(client: httpx2.AsyncClient, messages: list[Any], **more: Any) -> dict[str, Any]:
    body = {"model": "agent", "messages": messages, "tools": [TOOL], **more}
    response = await client.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    choice["message"]["finish_reason"] = choice["finish_reason"]
    message: dict[str, Any] = choice["message"]
    return message


async def respond(client: httpx2.AsyncClient, items: Any, **more: Any) -> dict[str, Any]:
    response = await client.post(RESPONSES, json={"model": "agent", "input": items, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
