"""The most memory that the heaviest requests take, each kind in a process of its own; judges nothing.

    python -m tests.bench.heavy_memory [NAME ...]

The app runs in its local host on Azurite. An instance of Functions with 512 MB has the host beside it,
which takes about 150.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.bench.peer_processes import app_running
from tests.conftest import ThreadServer
from tests.ports import KEEP_ALIVE_SECONDS, free_port
from tests.storage import azurite

MEBIBYTE = 1024 * 1024
PICTURES = 10
PICTURE_BYTES = 4 * MEBIBYTE
STREAMS = 64
STREAM_CHUNKS = 50
Case = Callable[[httpx2.AsyncClient], Awaitable[list[httpx2.Response]]]

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
_CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
_DELTA = {"index": 0, "delta": {"content": "hello " * 20}}


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as a provider: chats, streams of them, large pictures, transcriptions."""
    request = Request(scope, receive)
    body = await request.body()
    if request.url.path.endswith("/images/generations"):
        picture = base64.b64encode(_PNG + os.urandom(PICTURE_BYTES)).decode()
        answer = {"created": 1, "data": [{"b64_json": picture}] * PICTURES}
    elif request.url.path.endswith("/audio/transcriptions"):
        answer = {"text": "hello"}
    elif b'"stream":true' in body.replace(b" ", b""):
        events = StreamingResponse(_events(), media_type="text/event-stream")
        await events(scope, receive, send)
        return
    else:
        answer = {**_CHAT, "choices": [_CHOICE], "usage": _USAGE}
    await Response(json.dumps(answer), media_type="application/json")(scope, receive, send)


async def _events() -> AsyncIterator[str]:
    for _ in range(STREAM_CHUNKS):
        yield f"data: {json.dumps({**_CHAT, 'choices': [_DELTA]})}\n\n"
        await asyncio.sleep(0.05)
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield f"data: {json.dumps({**_CHAT, 'choices': [end], 'usage': _USAGE})}\n\ndata: [DONE]\n\n"


async def nothing(_: httpx2.AsyncClient) -> list[httpx2.Response]:
    return []


async def bodies(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    url = "data:image/png;base64," + "A" * (31 * MEBIBYTE)
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    headers = {"Content-Type": "application/json"}
    return await _at_once(
        8, lambda: client.post("/v1/chat/completions", content=body, headers=headers)
    )


async def uploads(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    body = _PNG + bytes(90 * MEBIBYTE)
    headers = {"Content-Type": "image/png"}
    return await _at_once(4, lambda: client.post("/media", content=body, headers=headers))


async def forms(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    files = {"file": ("a.wav", bytes(90 * MEBIBYTE), "audio/wav")}
    return await _at_once(
        2,
        lambda: client.post("/v1/audio/transcriptions", data={"model": "m"}, files=files),
    )


async def tool_pictures(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    body = {"prompt": "A hill", "n": PICTURES}
    return [await client.post("/tools/generate_image", json=body)]


async def v1_pictures(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    body = {"model": "m", "prompt": "A hill", "n": PICTURES}
    return [await client.post("/v1/images/generations", json=body)]


async def streams(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    half = STREAMS // 2
    answers = await asyncio.gather(
        _at_once(half, lambda: client.post("/v1/chat/completions", json=asked)),
        _at_once(half, lambda: client.post("/chat", json={"message": "hello", "stream": True})),
    )
    return [*answers[0], *answers[1]]


async def downloads(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    stored = await client.post(
        "/media", content=_PNG + bytes(20 * MEBIBYTE), headers={"Content-Type": "image/png"}
    )
    return await _at_once(STREAMS, lambda: client.get(f"/media/{stored.json()['id']}"))


async def _at_once(
    times: int, ask: Callable[[], Awaitable[httpx2.Response]]
) -> list[httpx2.Response]:
    return list(await asyncio.gather(*(ask() for _ in range(times))))


CASES: dict[str, Case] = {
    "nothing but a small call": nothing,
    "8 chats with pictures of 31 MiB under /v1": bodies,
    "4 uploads of 90 MiB": uploads,
    "2 forms of 90 MiB under /v1": forms,
    "10 pictures of 4 MiB by the tool": tool_pictures,
    "10 pictures of 4 MiB under /v1": v1_pictures,
    "64 streams": streams,
    "64 downloads of 20 MiB through the app": downloads,
}


async def measure(name: str, case: Case, settings: dict[str, str]) -> None:
    """Runs a case in a new process and prints the most memory that it had."""
    with app_running(settings) as app:
        limits = httpx2.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
        async with httpx2.AsyncClient(
            base_url=app.origin, headers=app.headers, timeout=300, limits=limits
        ) as client:
            for path, body in (("/chat", {"message": "hello"}), ("/tools/server_time", {})):
                (await client.post(path, json=body)).raise_for_status()
            before = app.peak_mb
            statuses = sorted(answer.status_code for answer in await case(client))
        print(f"{name:45} {before:6.1f} MB before, at most {app.peak_mb:6.1f} MB  {statuses}")


def main() -> None:
    """Measures the cases that the command line names, or all."""
    wanted = sys.argv[1:]
    with ExitStack() as stack:
        provider = stack.enter_context(ThreadServer(upstream))
        port = free_port()
        stack.enter_context(azurite.running(port))
        settings = {
            "OPENAI_BASE_URL": f"{provider.origin}/v1",
            "OPENAI_API_KEY": "unused",
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string(port),
            "MEDIA_PROXY_DOWNLOADS": "true",
        }
        for name, case in CASES.items():
            if not wanted or any(word in name for word in wanted):
                asyncio.run(measure(name, case, settings))


if __name__ == "__main__":
    main()
