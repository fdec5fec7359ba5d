"""The block that works for a client, and when the client disconnects."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from shared.disconnect import cancel_on_disconnect

pytestmark = pytest.mark.anyio


class Client:
    """Is connected until it is told otherwise."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.is_gone = asyncio.Event()

    async def receive(self) -> Message:
        self.is_asked.set()
        await self.is_gone.wait()
        return {"type": "http.disconnect"}


async def test_block_is_cancelled_when_its_client_disconnects() -> None:
    client = Client()

    async def work() -> None:
        async with cancel_on_disconnect(client.receive):
            await client.is_asked.wait()
            client.is_gone.set()
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnect):
        await work()


async def test_client_that_disconnects_just_when_the_block_ends_changes_nothing() -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    client = Client()
    async with cancel_on_disconnect(client.receive):
        await client.is_asked.wait()
        client.is_gone.set()
        # In this round of the loop the watch ends, and in the next one it would tell.
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert problems == []
