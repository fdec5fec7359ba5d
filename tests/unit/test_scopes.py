import asyncio
import math
from dataclasses import replace

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import (
    Deadline,
    check_deadline,
    create_detached_task,
    remaining_seconds,
    time_limit,
)
from shared.disconnect import cancel_on_disconnect
from shared.errors import DeadlineExceeded

FOREVER = 3600.0


async def test_block_that_outlives_its_scope_is_cancelled() -> None:
    context = CallContext(Principal("somebody", frozenset()), Deadline.after(0.01))
    with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds"):
        async with context.scope():
            await asyncio.Event().wait()


async def test_remaining_seconds_are_those_of_the_innermost_scope() -> None:
    assert remaining_seconds() == math.inf
    async with Deadline.after(FOREVER).scope():
        async with time_limit(60):
            assert remaining_seconds() <= 60
        assert 60 < remaining_seconds() <= FOREVER
    assert remaining_seconds() == math.inf


async def test_time_limit_is_never_longer_than_the_scope_around_it() -> None:
    async with Deadline.after(60).scope(), time_limit(FOREVER):
        assert remaining_seconds() <= 60


async def test_shorter_limit_that_is_over_leaves_the_scope_around_it_its_time() -> None:
    async with Deadline.after(FOREVER).scope():
        with pytest.raises(DeadlineExceeded):
            async with time_limit(0.01):
                await asyncio.Event().wait()
        assert remaining_seconds() > 60


async def test_scope_and_the_longer_limit_in_it_end_as_one() -> None:
    left: list[float] = []

    async def work() -> None:
        async with Deadline.after(0.01).scope():
            try:
                async with time_limit(FOREVER):
                    await asyncio.Event().wait()
            finally:
                left.append(remaining_seconds())

    with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds"):
        await work()
    assert left == [0]


async def test_tasks_inherit_the_scope() -> None:
    async def ask() -> float:
        return remaining_seconds()

    async with Deadline.after(60).scope():
        assert await asyncio.create_task(ask()) <= 60


async def test_detached_task_has_no_deadline_and_is_not_cancelled() -> None:
    is_over = asyncio.Event()

    async def work() -> float:
        await is_over.wait()
        return remaining_seconds()

    tasks: list[asyncio.Task[float]] = []

    async def call() -> None:
        async with Deadline.after(0.01).scope():
            tasks.append(create_detached_task(work()))
            await asyncio.shield(tasks[0])

    with pytest.raises(DeadlineExceeded):
        await call()
    is_over.set()
    assert await tasks[0] == math.inf


async def test_block_that_never_suspends_ends_where_it_checks_the_deadline() -> None:
    async def read() -> None:
        async with Deadline.after(0.01).scope():
            while True:
                check_deadline()

    with pytest.raises(DeadlineExceeded):
        await read()


async def test_outside_of_a_scope_there_is_no_deadline_to_check() -> None:
    check_deadline()


class Client:
    """A client that sends nothing more and disconnects when it is told to."""

    def __init__(self) -> None:
        self.disconnects = asyncio.Event()

    async def receive(self) -> Message:
        """Returns the disconnect."""
        await self.disconnects.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def context() -> CallContext:
    """Of a call that ends by something else than its deadline, unless the test fails."""
    return CallContext(Principal("somebody", frozenset()), Deadline.after(10))


async def test_block_whose_caller_disconnects_is_cancelled(
    context: CallContext, client: Client
) -> None:
    async def call() -> None:
        async with context.scope(), cancel_on_disconnect(client.receive):
            client.disconnects.set()
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnect):
        await call()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_error_of_a_block_whose_caller_stays_is_its_own(
    context: CallContext, client: Client
) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with context.scope(), cancel_on_disconnect(client.receive):
            raise TimeoutError("mine")


async def test_error_while_a_block_is_cancelled_does_not_hide_the_disconnect(
    context: CallContext, client: Client
) -> None:
    async def call() -> None:
        async with context.scope(), cancel_on_disconnect(client.receive):
            client.disconnects.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("cleaning up failed")

    with pytest.raises(ClientDisconnect):
        await call()


async def test_block_that_is_cancelled_from_outside_is_not_taken_for_a_disconnect(
    context: CallContext, client: Client
) -> None:
    is_running = asyncio.Event()

    async def run() -> None:
        async with context.scope(), cancel_on_disconnect(client.receive):
            is_running.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await is_running.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_detached_task_goes_on_when_its_caller_disconnects(
    context: CallContext, client: Client
) -> None:
    may_end = asyncio.Event()

    async def work() -> str:
        async with context.scope():
            await may_end.wait()
            return "done"

    task = create_detached_task(work())

    async def call() -> None:
        async with context.scope(), cancel_on_disconnect(client.receive):
            client.disconnects.set()
            await asyncio.shield(task)

    with pytest.raises(ClientDisconnect):
        await call()
    may_end.set()
    assert await task == "done"


async def test_progress_of_a_detached_call_reaches_its_caller_while_it_waits(
    context: CallContext,
) -> None:
    reports: list[float] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    with replace(context, report_progress=report).detached() as detached:
        await detached.report_progress(1, 2, None)
    await detached.report_progress(2, 2, None)
    assert reports == [1]


async def test_progress_that_cannot_be_delivered_does_not_end_a_detached_call(
    context: CallContext,
) -> None:
    async def report(progress: float, total: float | None, message: str | None) -> None:
        raise ConnectionError("closed")

    with replace(context, report_progress=report).detached() as detached:
        await detached.report_progress(1, 2, None)
