"""A user of the app, and what requests may answer."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.mcp.support import HEADERS, answers

_IDS = re.compile(r"[0-9a-f]{12,}")
"""They differ in each answer, and answers are counted by what they say."""


class Wrong(Exception):
    """Raised when an answer is not what it has to be; the message is its kind, for counting."""


@dataclass
class User:
    """Somebody who uses the app, named by ``X-User-Id``.

    Attributes:
        http: Sends to the app with a key that may do everything.
        name: Who it is.
        tool_server: URL of an MCP server to connect to.
        calls: How many calls were made so far.
        conversation_id: A conversation to go on with.
    """

    http: httpx2.AsyncClient
    name: str
    tool_server: str
    calls: int = 0
    conversation_id: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What says who it is."""
        return {"X-User-Id": self.name}

    def key_holder(self) -> "User":
        """Returns the principal of the key, for whom no other speaks."""
        return KeyHolder(self.http, "", self.tool_server)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends a request and returns the JSON that it answers.

        Raises:
            Wrong: It has another status.
        """
        response = await self.http.request(
            method, path, json=body, headers={**self.headers, **(headers or {})}
        )
        check(response, status)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json and response.content else None

    async def mcp(self, message: dict[str, Any], headers: dict[str, str]) -> Any:
        """Sends a message to ``/mcp`` and returns its result.

        Raises:
            Wrong: It is refused, or the result is an error.
        """
        sent = {**HEADERS, **self.headers, **headers}
        response = await self.http.post("/mcp", json=message, headers=sent)
        check(response, 202 if "id" not in message else 200)
        if "id" not in message:
            return None
        answer = answers(response)[-1]
        if "result" not in answer or answer["result"].get("isError"):
            raise Wrong(f"{message['method']} at /mcp: {json.dumps(answer)[:200]}")
        return answer["result"]

    async def stream(
        self, path: str, body: dict[str, Any], end: str, lines: int | None = None
    ) -> None:
        """Reads a stream to its end, or leaves after some lines.

        Raises:
            Wrong: It is refused, or ends with another line than ``end`` begins with.
        """
        last = ""
        async with self.http.stream("POST", path, json=body, headers=self.headers) as response:
            if response.status_code != 200:
                await response.aread()
            check(response, 200)
            seen = 0
            async for line in response.aiter_lines():
                seen += 1
                if seen == lines:
                    return
                if line.startswith(("event: ", "data: [")):
                    last = line
        if last != end:
            raise Wrong(f"{path} ended with {last!r}")


class KeyHolder(User):
    """The principal of the key itself."""

    @property
    def headers(self) -> dict[str, str]:
        """Names no user."""
        return {}


def check(response: httpx2.Response, status: int) -> None:
    """Compares the status of an answer.

    Raises:
        Wrong: It is another one.
    """
    if response.status_code != status:
        path = "/".join(response.request.url.path.split("/")[:3])
        text = _IDS.sub("…", response.text[:200])
        raise Wrong(f"{response.request.method} {path} {response.status_code}: {text}")
