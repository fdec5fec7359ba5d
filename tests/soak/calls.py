"""What users do in a soak: one function for each kind of call, and how often each is made."""

from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import httpx2

from tests.mcp.support import initialize, modern_request, notification, request
from tests.soak.user import User, Wrong, check
from tests.waiting import until

MESSAGES = 6
"""Of a conversation, before it is deleted and another begins."""
UPLOADS_BYTES = (1_000_000, 1_000)
OLDER = {"MCP-Protocol-Version": "2025-06-18"}
Call = Callable[[User], Awaitable[object]]

_ASKED = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Say hello"}]}
_TIME = {"name": "server_time", "arguments": {}}
_COMPLETION = {"name": "chat_completion", "arguments": {"prompt": "Say hello"}}
_CHAT = {"message": "What is the current server time?"}
_PICTURE = {"prompt": "A hill", "size": "128x128"}
_FILM = {"prompt": "A film", "seconds": 1}


async def tool(user: User) -> None:
    await user.ask("POST", "/tools/server_time", {})


async def paid_tool(user: User) -> None:
    await user.ask("POST", "/tools/chat_completion", {"prompt": "Say hello"})


async def task_list(user: User) -> None:
    task = await user.ask("POST", "/tools/add_task", {"title": "A task"})
    await user.ask("POST", "/tools/list_tasks", {})
    await user.ask("POST", "/tools/delete_task", {"task_id": task["task_id"]})


async def mcp_modern(user: User) -> None:
    await user.mcp(*modern_request("tools/call", _TIME))


async def mcp_modern_paid(user: User) -> None:
    await user.mcp(*modern_request("tools/call", _COMPLETION))


async def mcp_list(user: User) -> None:
    await user.mcp(*modern_request("tools/list"))


async def mcp_legacy(user: User) -> None:
    await user.mcp(initialize("2025-06-18"), {})
    await user.mcp(notification("notifications/initialized"), OLDER)
    await user.mcp(request(2, "tools/list"), OLDER)
    await user.mcp(request(3, "tools/call", _TIME), OLDER)


async def chat(user: User) -> None:
    await user.ask("POST", "/chat", _CHAT)


async def chat_streamed(user: User) -> None:
    await user.stream("/chat", {**_CHAT, "stream": True}, "event: chat.completed")


async def chat_left(user: User) -> None:
    await user.stream("/chat", {**_CHAT, "stream": True}, "", lines=2 + user.calls % 12)


async def conversation(user: User) -> None:
    body = {"message": "Hello.", "tools": "none"}
    if user.conversation_id is not None:
        body["conversation_id"] = user.conversation_id
    answer = await user.ask("POST", "/chat", body)
    user.conversation_id = answer["conversation_id"]
    page = await user.ask("GET", f"/conversations/{user.conversation_id}")
    if len(page["messages"]) >= 2 * MESSAGES:
        await user.ask("GET", "/conversations?limit=5")
        await user.ask("DELETE", f"/conversations/{user.conversation_id}", status=204)
        user.conversation_id = None


async def v1(user: User) -> None:
    await user.ask("POST", "/v1/chat/completions", _ASKED)


async def v1_streamed(user: User) -> None:
    await user.stream("/v1/chat/completions", {**_ASKED, "stream": True}, "data: [DONE]")


async def v1_left(user: User) -> None:
    await user.stream("/v1/chat/completions", {**_ASKED, "stream": True}, "", lines=3)


async def v1_agent(user: User) -> None:
    body = {**_ASKED, "model": "agent", "stream": True}
    await user.stream("/v1/chat/completions", body, "data: [DONE]")


async def v1_others(user: User) -> None:
    await user.ask("GET", "/v1/models")
    await user.ask("POST", "/v1/embeddings", {"model": "m", "input": "hello"})
    await user.ask("POST", "/v1/images/generations", {"model": "gpt-image-2.5-flare", **_PICTURE})


async def picture(user: User) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    drawn = [
        (await user.ask("POST", "/tools/generate_image", _PICTURE, headers=key))["media"][0]
        for _ in range(2)
    ]
    medium = drawn[0]
    if medium["id"] != drawn[1]["id"]:
        raise Wrong("an idempotency key made two pictures")
    # It names the host that callers reach in Azure.
    link = httpx2.URL(medium["url"]).raw_path.decode()
    for path in (link, f"/media/{medium['id']}"):
        leads_on = await user.http.get(path, headers=user.headers)
        check(leads_on, 302)
        async with httpx2.AsyncClient() as anybody:
            check(await anybody.get(leads_on.headers["location"]), 200)
    await user.ask("GET", "/media?limit=5")
    await user.ask("DELETE", f"/media/{medium['id']}", status=204)


async def upload(user: User) -> None:
    headers = {**user.headers, "Content-Type": "text/plain"}
    for size in UPLOADS_BYTES:
        response = await user.http.post("/media", content=b"word " * (size // 5), headers=headers)
        check(response, 201)
    # The provider repeats what it is told, so it is told of the small one.
    part = {"type": "file", "media_id": response.json()["id"]}
    await user.ask("POST", "/chat", {"message": [{"type": "text", "text": "Sum up"}, part]})


async def speech(user: User) -> None:
    await user.ask("POST", "/tools/synthesize_speech", {"text": "Hello there"})


async def video(user: User) -> None:
    job = await user.ask("POST", "/tools/generate_video", _FILM, 202)

    async def status() -> str:
        seen: str = (await user.ask("GET", f"/videos/{job['id']}"))["status"]
        return seen

    await until(status, lambda seen: seen == "completed", pause=1)


async def connection(user: User) -> None:
    wish = {"mcp_url": user.tool_server, "transport": "http"}
    made = await user.ask("POST", "/mcp/connect", wish, 201)
    whose = {"client_id": made["client_id"]}
    add = {"tool_name": "add", "arguments": {"a": 2, "b": 3}}
    answer = await user.ask("POST", "/mcp/call_tool", {**whose, **add})
    if answer["result"] != {"result": 5}:
        raise Wrong(f"add answered {answer['result']}")
    await user.ask("GET", "/tools")
    await user.ask("POST", "/chat", _CHAT)
    await user.ask("POST", "/mcp/disconnect", whose)


async def stored_key(user: User) -> None:
    admin, name = user.key_holder(), f"key-{uuid4().hex[:12]}"
    made = await admin.ask("POST", "/keys", {"name": name}, 201)
    me = await admin.ask("GET", "/me", headers={"Authorization": f"Bearer {made['key']}"})
    if me["principal"] != name:
        raise Wrong(f"a stored key is that of {me['principal']}")
    await admin.ask("DELETE", f"/keys/{name}", status=204)


async def usage(user: User) -> None:
    await user.ask("GET", "/me")
    await user.ask("GET", "/usage")
    await user.ask("GET", "/usage/records?limit=20")


async def page(user: User) -> None:
    for path in ("/", "/pages/app.js", "/openapi.json", "/health"):
        await user.ask("GET", path)


async def refused(user: User) -> None:
    await user.ask("POST", "/chat", _CHAT, 401, headers={"Authorization": "Bearer wrong"})
    await user.ask("POST", "/chat", {"message": 7}, 422)
    await user.ask("GET", "/conversations/unknown", status=404)
    await user.ask("POST", "/v1/chat/completions", {"model": 1}, 400)


CALLS: Mapping[Call, int] = {
    tool: 10,
    paid_tool: 6,
    task_list: 3,
    mcp_modern: 10,
    mcp_modern_paid: 4,
    mcp_list: 5,
    mcp_legacy: 5,
    chat: 6,
    chat_streamed: 6,
    chat_left: 4,
    conversation: 8,
    v1: 10,
    v1_streamed: 8,
    v1_left: 4,
    v1_agent: 3,
    v1_others: 2,
    picture: 2,
    upload: 1,
    speech: 2,
    video: 1,
    connection: 2,
    stored_key: 1,
    usage: 2,
    page: 2,
    refused: 2,
}
"""Each kind of call, and how often it is made among all."""
