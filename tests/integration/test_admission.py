"""Requests that come together begin a few at a time, in their order, and probes at once."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from shared.deadline import Deadline
from shared.disconnect import SHUTDOWN_REASON
from shared.routes.admission import FIRST_QUOTA, LEAST_QUOTA, MOST_QUOTA, Admission
from shared.routes.middleware import RequestMiddleware

pytestmark = pytest.mark.anyio

REQUESTS = 200
DEADLINE_SECONDS = 60
WAIT_SECONDS = 60


class App:
    """Notes which requests have begun, and holds them until it may answer."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.body: list[Message] = []
        self.may_answer = asyncio.Event()
        self._middleware = RequestMiddleware(self, DEADLINE_SECONDS, probe_path="/probe")
        self._states: dict[str, dict[str, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if scope["path"] == "/body":
            self.body = [await receive(), await receive(), await receive()]
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    def request(
        self, path: str, *received: Message, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> "asyncio.Task[list[Message]]":
        return self.ask(path, Received(*received), headers)

    def ask(
        self, path: str, receive: Receive, headers: Sequence[tuple[bytes, bytes]]
    ) -> "asyncio.Task[list[Message]]":
        return asyncio.create_task(self._request(path, receive, headers))

    def deadline(self, path: str) -> Deadline:
        deadline: Deadline = self._states[path]["deadline"]
        return deadline

    async def _request(
        self, path: str, receive: Receive, headers: Sequence[tuple[bytes, bytes]]
    ) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        state = self._states[path] = {}
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "state": state}
        await self._middleware(scope, receive, send)
        return sent


class Received:
    """A ``receive`` that gives some messages, and then nothing."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)

    async def __call__(self) -> Message:
        return self.messages.pop(0) if self.messages else await receive_nothing()


def body_part(text: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": text, "more_body": more}


async def receive_nothing() -> Message:
    return await asyncio.Future[Message]()


@pytest.fixture
async def app() -> App:
    return App()


def paths(count: int = REQUESTS) -> list[str]:
    return [f"/{number}" for number in range(count)]


async def until_begun(app: App, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while len(app.begun) < count:
            await asyncio.sleep(0)


async def test_request_that_comes_alone_begins_at_once(app: App) -> None:
    task = app.request("/alone")
    await asyncio.sleep(0)
    assert app.begun == ["/alone"]
    app.may_answer.set()
    assert [message["type"] for message in await task] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_requests_that_come_together_begin_a_few_in_each_round_in_order(app: App) -> None:
    app.may_answer.set()
    tasks = [app.request(path) for path in paths()]
    rounds = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(app.begun) < REQUESTS:
            before = len(app.begun)
            await asyncio.sleep(0)
            rounds.append(len(app.begun) - before)
    assert app.begun == paths()
    assert max(rounds) <= MOST_QUOTA
    answers = await asyncio.gather(*tasks)
    assert [answer[0]["status"] for answer in answers] == [204] * REQUESTS


class Clock:
    """Seconds of the processor, as the tests compute them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def begun_in_each_round(step_seconds: float, other_seconds: float) -> list[int]:
    """Returns how many of requests that come together begin in each round of the event loop.

    Args:
        step_seconds: What the first step of each computes.
        other_seconds: What else is computed in each round, as by running streams.
    """
    clock, begun = Clock(), 0
    admission = Admission(clock)

    async def request() -> None:
        nonlocal begun
        await admission.enter(receive_nothing)
        clock.seconds += step_seconds
        begun += 1

    tasks = [asyncio.create_task(request()) for _ in range(REQUESTS)]
    rounds = []
    async with asyncio.timeout(WAIT_SECONDS):
        while begun < REQUESTS:
            clock.seconds += other_seconds
            before = begun
            await asyncio.sleep(0)
            rounds.append(begun - before)
    await asyncio.gather(*tasks)
    return rounds


async def test_requests_begin_as_fast_beside_running_streams_as_alone() -> None:
    alone = await begun_in_each_round(step_seconds=0, other_seconds=0)
    assert await begun_in_each_round(step_seconds=0, other_seconds=1) == alone
    assert len(alone) <= REQUESTS / 16


async def test_fewer_requests_begin_in_one_round_where_each_computes_for_longer() -> None:
    most = [max(await begun_in_each_round(seconds, 0)) for seconds in (0, 0.0004, 0.1)]
    assert most == [MOST_QUOTA, 2 * FIRST_QUOTA, FIRST_QUOTA]
    assert (await begun_in_each_round(0.1, 0))[-2:] == [LEAST_QUOTA, LEAST_QUOTA]


async def test_request_that_comes_later_waits_behind_those_that_wait(app: App) -> None:
    tasks = [app.request(path) for path in paths()]
    await asyncio.sleep(0)
    tasks.append(app.request("/late"))
    await until_begun(app, REQUESTS + 1)
    assert app.begun[-1] == "/late"
    app.may_answer.set()
    await asyncio.gather(*tasks)


async def test_probe_does_not_wait_for_others(app: App) -> None:
    tasks = [app.request(path) for path in (*paths(), "/probe")]
    await asyncio.sleep(0)
    assert "/probe" in app.begun
    assert len(app.begun) < REQUESTS
    app.may_answer.set()
    await asyncio.gather(*tasks)


async def test_waiting_request_that_is_cancelled_never_begins(app: App) -> None:
    tasks = [app.request(path) for path in paths()]
    await asyncio.sleep(0)
    tasks[-1].cancel()
    tasks[-3].cancel()
    await until_begun(app, REQUESTS - 2)
    app.may_answer.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = [end for end in ends if isinstance(end, asyncio.CancelledError)]
    assert len(cancelled) == 2
    assert app.begun == [*paths(REQUESTS - 3), f"/{REQUESTS - 2}"]


@pytest.mark.parametrize("body", [[], [body_part(b"", more=False)]], ids=["none", "read"])
async def test_waiting_request_whose_client_disconnects_never_begins(
    app: App, body: list[Message]
) -> None:
    tasks = [app.request(path) for path in paths()]
    left = app.request("/left", *body, {"type": "http.disconnect"})
    tasks.append(app.request("/last"))
    app.may_answer.set()
    answers = await asyncio.gather(*tasks)
    assert [answer[0]["status"] for answer in answers] == [204] * (REQUESTS + 1)
    assert await left == []
    assert app.begun == [*paths(), "/last"]


async def test_waiting_request_is_told_at_once_that_the_server_shuts_down(app: App) -> None:
    tasks = [app.request(path) for path in paths()]
    end: Message = {"type": "http.disconnect", "reason": SHUTDOWN_REASON}
    start, body = await app.request("/ended", body_part(b"{}", more=False), end)
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "shutting_down")
    assert len(app.begun) < REQUESTS
    app.may_answer.set()
    await asyncio.gather(*tasks)
    assert app.begun == paths()


@pytest.mark.parametrize("headers", [[], [(b"expect", b"100-continue")]], ids=["plain", "asked"])
async def test_body_of_a_request_that_waited_is_whole_and_in_order(
    app: App, headers: list[tuple[bytes, bytes]]
) -> None:
    app.may_answer.set()
    tasks = [app.request(path) for path in paths()]
    end: Message = {"type": "http.disconnect"}
    parts = [body_part(b"first", more=True), body_part(b"last", more=False), end]
    tasks.append(app.request("/body", *parts, headers=headers))
    await asyncio.gather(*tasks)
    assert app.body == parts


async def test_body_is_not_asked_for_while_its_request_waits(app: App) -> None:
    tasks = [app.request(path) for path in paths()]
    parts = Received(body_part(b"{}", more=False))
    waiting = app.ask("/waits", parts, [(b"expect", b"100-continue")])
    await until_begun(app, MOST_QUOTA)
    assert "/waits" not in app.begun
    assert len(parts.messages) == 1
    app.may_answer.set()
    await asyncio.gather(*tasks, waiting)


async def test_deadline_of_a_request_counts_its_waiting(app: App) -> None:
    tasks = [app.request(path) for path in paths()]
    await asyncio.sleep(0)
    last = paths()[-1]
    assert last not in app.begun
    latest = Deadline.after(DEADLINE_SECONDS)
    await until_begun(app, REQUESTS)
    assert app.deadline(last).at <= latest.at
    app.may_answer.set()
    await asyncio.gather(*tasks)


async def test_later_burst_begins_as_carefully_as_the_first(app: App) -> None:
    app.may_answer.set()
    most = []
    for _ in range(2):
        app.begun.clear()
        tasks = [app.request(path) for path in paths()]
        await asyncio.sleep(0)
        most.append(len(app.begun))
        await asyncio.gather(*tasks)
    assert most[0] == most[1]


async def test_health_is_answered_before_a_burst_is(client: httpx2.AsyncClient) -> None:
    answered: list[str] = []

    async def ask(path: str) -> None:
        assert (await client.get(path)).status_code == 200
        answered.append(path)

    await ask("/tools")
    await asyncio.gather(*(ask("/tools") for _ in range(REQUESTS)), ask("/health"))
    assert "/health" in answered[: REQUESTS // 2]
