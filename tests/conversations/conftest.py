import json
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, StandIn
from tests.paging import read_pages

Event = tuple[str, dict[str, Any]]


def tokens_of(usage: dict[str, Any]) -> dict[str, Any]:
    """Returns the usage of an answer as conversations have it, without the cost."""
    return {name: count for name, count in usage.items() if name != "cost_usd"}


class Talk:
    """The app over HTTP, as somebody who chats sees it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.http = client

    async def say(
        self, message: str, conversation_id: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Sends a message that has to be answered."""
        headers = fields.pop("headers", None)
        body = {"message": message, **fields}
        if conversation_id is not None:
            body["conversation_id"] = conversation_id
        response = await self.http.post("/chat", json=body, headers=headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def read(self, conversation_id: str, **query: Any) -> dict[str, Any]:
        """Returns a page of a conversation."""
        response = await self.http.get(f"/conversations/{conversation_id}", params=query)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    async def read_pages(self, conversation_id: str, limit: int) -> list[dict[str, Any]]:
        """Returns all pages of a conversation, the newest messages first."""

        async def fetch(cursor: str | None) -> dict[str, Any]:
            query = {} if cursor is None else {"cursor": cursor}
            return await self.read(conversation_id, limit=limit, **query)

        return await read_pages(fetch)

    async def said(self, conversation_id: str) -> list[tuple[str, str]]:
        """Returns role and text of all messages of people and models."""
        messages = (await self.read(conversation_id))["messages"]
        return [(each["role"], each["content"]) for each in messages if each["role"] != "tool"]


@pytest.fixture
def talk(make_client: MakeClient, stored_environment: dict[str, str], stand_in: StandIn) -> Talk:
    """An app over each kind of storage; every test that uses it runs with both."""
    return Talk(make_client(stored_environment))


@pytest.fixture
def local_talk(make_client: MakeClient, environment: dict[str, str]) -> Talk:
    """An app over a folder, where the storage makes no difference."""
    return Talk(make_client(environment))


def parse(text: str) -> list[Event]:
    """Reads a stream as the standard says, as far as we use it."""
    events = []
    for block in filter(None, text.split("\n\n")):
        if block.startswith(":"):
            continue
        event, data = block.split("\n")
        events.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events
