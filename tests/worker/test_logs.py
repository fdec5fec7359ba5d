"""What is logged during a request is kept by the host, which keeps lines of open invocations only."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from azure_functions_runtime import http_v2, invocation_id_cv
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.requests import Request
from starlette.responses import Response

from shared.asgi import AsgiResponse
from shared.background import Background
from shared.functions_worker import WorkerServer, respond
from shared.routes.exchange import CLIENT_CLOSED_REQUEST
from tests.conftest import StandIn
from tests.gate import Gate, happened
from tests.mcp.task_client import TaskClient
from tests.waiting import until
from tests.worker.host_log import make_task, task_invocation_id
from tests.worker.process import WorkerProcess, run_worker
from tests.worker.test_invocations import ACCEPT, LIST_TOOLS, NOTHING_LEFT, settled

AT_ONCE = 50
QUESTION = {"message": "What is the current server time?"}
CALL = {"name": "chat_completion", "arguments": {"prompt": "Hello"}}
TOOL_CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}


def named(request_id: str) -> dict[str, str]:
    return {"X-Request-Id": request_id, **ACCEPT}


async def kept_line(worker: WorkerProcess, request_id: str, mark: str) -> str:
    """Returns the first line with a mark that the host keeps of a request."""
    start = f"kept[{request_id}] "
    line = await asyncio.to_thread(
        worker.log.first, lambda line: line.startswith(start) and mark in line
    )
    assert line, f"No line with {mark!r} of {request_id} is kept:\n{worker.log}"
    return line


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "status"),
    [
        ("json", "POST", "/chat", QUESTION, 200),
        ("streamed", "POST", "/chat", {**QUESTION, "stream": True}, 200),
        ("tool", "POST", "/tools/server_time", {}, 200),
        ("listing", "GET", "/tools", None, 200),
        ("mcp-list", "POST", "/mcp", LIST_TOOLS, 200),
        ("mcp-call", "POST", "/mcp", TOOL_CALL, 200),
        ("head", "HEAD", "/health", None, 200),
        ("options", "OPTIONS", "/health", None, 405),
        ("wrong-body", "POST", "/chat", {}, 422),
        ("missing", "GET", "/media/a%0Ab", None, 404),
    ],
)
async def test_the_line_of_a_request_is_kept_as_one_of_its_invocation(
    caller: httpx2.AsyncClient,
    worker: WorkerProcess,
    name: str,
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    request_id = f"kept-{name}"
    answer = await caller.request(method, path, json=body, headers=named(request_id))
    assert answer.status_code == status
    assert (await worker.logged_request(request_id))["status"] == status


async def test_the_line_of_a_refused_caller_is_kept(worker: WorkerProcess) -> None:
    async with worker.client(headers={}) as client:
        await client.post("/chat", json=QUESTION, headers=named("kept-stranger"))
    assert (await worker.logged_request("kept-stranger"))["status"] == 401


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("json", "/chat", QUESTION),
        ("streamed", "/chat", {**QUESTION, "stream": True}),
        ("tool", "/tools/chat_completion", {"prompt": "Hello"}),
        ("mcp", "/mcp", TOOL_CALL),
    ],
)
async def test_the_failure_of_a_provider_is_kept_from_whichever_task_it_is_logged(
    caller: httpx2.AsyncClient,
    worker: WorkerProcess,
    stand_in: StandIn,
    name: str,
    path: str,
    body: Any,
) -> None:
    request_id = f"failed-{name}"
    stand_in.fault(status=401, message="Incorrect API key provided")
    await caller.post(path, json=body, headers=named(request_id))
    line = await kept_line(worker, request_id, "provider_failed ")
    assert json.loads(line[line.index("{") :])["request_id"] == request_id
    assert (await worker.logged_request(request_id))["outcome"] == "provider_error"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_is_logged_of_calls_of_an_mcp_client_is_kept(
    worker: WorkerProcess, stand_in: StandIn, mode: str
) -> None:
    request_id = f"mcp-client-{mode}"
    async with worker.client() as caller:
        caller.headers["X-Request-Id"] = request_id
        transport = streamable_http_client(f"{worker.origin}/mcp", http_client=caller)
        async with Client(transport, mode=mode) as client:
            stand_in.fault(status=401, message="Incorrect API key provided")
            called = await client.call_tool("chat_completion", {"prompt": "Hello"})
    assert called.is_error
    await kept_line(worker, request_id, "provider_failed ")
    await kept_line(worker, request_id, '"tool": "chat_completion"')


async def test_task_goes_on_after_its_request_and_what_it_logs_is_kept(
    worker: WorkerProcess, stand_in: StandIn, gate: Gate
) -> None:
    async with worker.client() as caller:
        caller.headers["X-Request-Id"] = "begins-a-task"
        client = TaskClient(caller)
        with gate.holding() as hold:
            task_id = await client.begin("generate_image", prompt="A hill", size="32x32")
            assert await happened(hold.asked)
            caller.headers["X-Request-Id"] = "looks-at-a-task"
            assert (await client.get(task_id))["statusMessage"] == "Waiting for the model"
        task = await client.end(task_id)
    kinds = [each["type"] for each in task["result"]["content"]]
    assert kinds == ["text", "resource_link", "image"]
    line = await kept_line(worker, "begins-a-task", "task {")
    told = json.loads(line[line.index("{") :])
    assert (told["tool"], told["runs"], told["outcome"]) == ("generate_image", 1, "ok")


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("json", "/chat", QUESTION),
        ("tool", "/tools/chat_completion", {"prompt": "Think."}),
        ("mcp", "/mcp", TOOL_CALL),
    ],
)
async def test_the_line_of_a_client_that_left_is_kept_and_its_invocation_ends(
    worker: WorkerProcess, stand_in: StandIn, gate: Gate, name: str, path: str, body: Any
) -> None:
    request_id = f"left-early-{name}"
    async with worker.client() as leaver:
        with gate.holding() as hold:
            asking = leaver.post(path, json=body, headers=named(request_id))
            exchange = asyncio.create_task(asking)
            assert await happened(hold.asked)
            exchange.cancel()
            await asyncio.wait([exchange])
            assert await happened(hold.left)
    line = await worker.logged_request(request_id)
    assert line["status"] in (CLIENT_CLOSED_REQUEST, 200)
    assert await settled(worker) == NOTHING_LEFT


@pytest.mark.parametrize(
    ("name", "path", "body", "key"),
    [
        ("tool", "/tools/generate_image", {"prompt": "A hill"}, {}),
        ("chat", "/chat", QUESTION, {"Idempotency-Key": "one"}),
        ("stream", "/chat", {**QUESTION, "stream": True}, {"Idempotency-Key": "two"}),
    ],
)
async def test_what_paid_work_logs_whose_caller_disconnected_is_kept(
    worker: WorkerProcess,
    stand_in: StandIn,
    gate: Gate,
    name: str,
    path: str,
    body: Any,
    key: dict[str, str],
) -> None:
    request_id = f"detached-{name}"
    stand_in.fault(status=401, message="Incorrect API key provided")
    async with worker.client() as client:
        with gate.holding() as hold:
            asking = client.post(path, json=body, headers={**named(request_id), **key})
            exchange = asyncio.create_task(asking)
            assert await happened(hold.asked)
            exchange.cancel()
            await asyncio.wait([exchange])
            # The request is over before the provider answers.
            await worker.logged_request(request_id)
            hold.over.set()
            await kept_line(worker, request_id, "provider_failed ")
    await kept_line(worker, request_id, "Detached work failed: provider_credentials")
    assert await settled(worker) == NOTHING_LEFT


async def test_an_invocation_lasts_as_long_as_its_stream(
    caller: httpx2.AsyncClient, worker: WorkerProcess, gate: Gate
) -> None:
    assert await settled(worker) == NOTHING_LEFT
    body = {**QUESTION, "stream": True}
    with gate.holding() as hold:
        async with caller.stream("POST", "/chat", json=body) as response:
            # The stream has begun, so the invocation does not hold it up.
            events = aiter(httpx2.EventSource(response))
            await anext(events)
            assert (await worker.state())["invocations"] == 1
            hold.over.set()
            assert [event async for event in events]
    assert await settled(worker) == NOTHING_LEFT


async def test_lines_of_many_requests_at_once_name_the_invocation_of_each(
    app_settings: dict[str, str], stand_in: StandIn
) -> None:
    bodies = [
        ("/chat", QUESTION),
        ("/chat", {**QUESTION, "stream": True}),
        ("/tools/chat_completion", {"prompt": "Hello"}),
        ("/mcp", TOOL_CALL),
        ("/mcp", LIST_TOOLS),
    ]
    with run_worker(app_settings) as process:
        async with process.client() as client:
            requests = [
                client.post(path, json=body, headers=named(f"at-once-{number}"))
                for number, (path, body) in enumerate(bodies * (AT_ONCE // len(bodies)))
            ]
            answers = await asyncio.gather(*requests)
        assert {answer.status_code for answer in answers} == {200}
        for number in range(AT_ONCE):
            await process.logged_request(f"at-once-{number}")
        assert await settled(process) == NOTHING_LEFT
    lost = [line for line in str(process.log).splitlines() if line.startswith("lost")]
    assert [line for line in lost if " shared." in line] == []


def coordinator_with(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(_context_references={"invocation": SimpleNamespace(**fields)})


class WithoutEffect(SimpleNamespace):
    """A record of a library that takes a response and has nobody wait for it."""

    def __init__(self) -> None:
        super().__init__(http_response=None, http_response_available_event=asyncio.Event())


@pytest.mark.parametrize(
    "make_coordinator",
    [
        lambda: None,
        lambda: SimpleNamespace(_context_references={}),
        lambda: coordinator_with(),
        lambda: coordinator_with(http_response=None),
        lambda: coordinator_with(http_response=None, http_response_available_event=True),
        lambda: SimpleNamespace(_context_references={"invocation": WithoutEffect()}),
    ],
)
async def test_with_a_changed_library_the_handler_returns_at_once(
    monkeypatch: pytest.MonkeyPatch, make_coordinator: Callable[[], Any]
) -> None:
    monkeypatch.setattr(http_v2, "http_coordinator", make_coordinator())
    server = WorkerServer()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response("answered")(scope, receive, send)

    @server.api_route("/{path:path}")
    async def catch_all(request: Request) -> Response:
        return await respond(request, AsgiResponse(app))

    transport = httpx2.ASGITransport(server)
    async with asyncio.timeout(60), httpx2.AsyncClient(transport=transport) as client:
        answer = await client.get("http://worker/", headers={"x-ms-invocation-id": "invocation"})
    assert answer.text == "answered"


async def test_tasks_and_threads_of_a_request_have_its_invocation_and_nobody_after_it() -> None:
    server = WorkerServer()
    seen: list[str | None] = []

    @server.api_route("/{path:path}")
    async def catch_all(request: Request) -> Response:
        async def look() -> None:
            seen.extend((task_invocation_id(), invocation_id_cv.get()))

        await make_task(asyncio.get_running_loop(), look())
        seen.append(await asyncio.to_thread(invocation_id_cv.get))
        return Response()

    async def ask() -> None:
        transport = httpx2.ASGITransport(server)
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get("http://worker/", headers={"x-ms-invocation-id": "invocation"})
        seen.extend((task_invocation_id(), invocation_id_cv.get()))

    await make_task(asyncio.get_running_loop(), ask())
    assert seen == ["invocation", "invocation", "invocation", None, None]


@pytest.mark.parametrize(
    ("headers", "method", "leaves", "lasts"),
    [
        ({"Content-Length": "4"}, "POST", False, True),
        ({"Content-Length": "4"}, "HEAD", False, False),
        ({"Content-Length": "0"}, "POST", False, False),
        ({}, "POST", False, False),
        ({}, "POST", True, True),
    ],
    ids=["length", "head", "empty", "stream", "disconnected"],
)
async def test_an_invocation_waits_for_detached_work_unless_its_client_waits_for_it(
    headers: dict[str, str], method: str, leaves: bool, lasts: bool
) -> None:
    server = WorkerServer()
    coordinator = http_v2.http_coordinator
    background = Background(grace_seconds=0)
    over = asyncio.Event()
    events: list[str] = []

    async def work() -> None:
        await over.wait()
        events.append("worked")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await background.finish(work())
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        if leaves:
            assert (await receive())["type"] == "http.disconnect"
        body = b"" if "0" in headers.values() else b"done"
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def invoke() -> None:
        request = await coordinator.get_http_request_async("invocation")
        response = await respond(request, AsgiResponse(app))
        events.append("returned")
        coordinator.set_http_response("invocation", response)

    @server.api_route("/{path:path}")
    async def catch_all(request: Request) -> Response:
        coordinator.set_http_request("invocation", request)
        response: Response = await coordinator.await_http_response_async("invocation")
        return response

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(b"x-ms-invocation-id", b"invocation")],
    }

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        events.append(message["type"])

    async with asyncio.timeout(60):
        invocation = asyncio.create_task(invoke())
        await server(scope, receive, send)
        if lasts:
            over.set()
            await invocation
        else:
            await invocation
            over.set()
            await background.aclose()
    answered = ["http.response.start", "http.response.body"]
    ends = ["worked", "returned"] if lasts else ["returned", "worked"]
    assert events == [*answered, *ends]
    await until(lambda: not coordinator._context_references)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_handler_returns_when_its_response_was_sent_or_failed(fails: bool) -> None:
    server = WorkerServer()
    coordinator = http_v2.http_coordinator
    returned = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert not returned.is_set()
        if fails:
            raise RuntimeError("A failure of the application.")
        await Response("answered")(scope, receive, send)

    async def invoke() -> None:
        request = await coordinator.get_http_request_async("invocation")
        response = await respond(request, AsgiResponse(app))
        returned.set()
        coordinator.set_http_response("invocation", response)

    @server.api_route("/{path:path}")
    async def catch_all(request: Request) -> Response:
        coordinator.set_http_request("invocation", request)
        response: Response = await coordinator.await_http_response_async("invocation")
        return response

    transport = httpx2.ASGITransport(server, raise_app_exceptions=False)
    async with asyncio.timeout(60), httpx2.AsyncClient(transport=transport) as client:
        invocation = asyncio.create_task(invoke())
        answer = await client.get("http://worker/", headers={"x-ms-invocation-id": "invocation"})
        await invocation
    assert answer.status_code == (500 if fails else 200)
    await until(lambda: not coordinator._context_references)
