"""Three apps on one store behind a round robin, killed at any moment while people talk to them.

    python -m tests.chaos.conversations [--conversations 200] [--store folder|azurite] [--seed 1]

Every caller follows a script, sends each message under an idempotency key of its own, half of them
streamed, and sends it again until it is answered. In the end each conversation has to be what its
caller was told: nothing lost, nothing twice, nothing of anybody else's. Prints what it counted, and
fails where one of these is not zero.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx2

from local.stand_in import create_stand_in
from tests.conftest import AUTH, KEY, StandIn, ThreadServer
from tests.media.app_process import AppProcess, running
from tests.ports import free_port
from tests.storage import azurite as azurite_process

APPS = 3
MESSAGES = 4
CALLERS = 8
PAUSE_SECONDS = (0.2, 1.5)
"""Between two kills."""


@dataclass
class Fleet:
    """Apps behind a round robin."""

    environment: Mapping[str, str]
    stack: ExitStack
    apps: list[AppProcess] = field(default_factory=list)
    kills: int = 0

    async def start(self) -> AppProcess:
        """Starts an app."""
        return await asyncio.to_thread(self.stack.enter_context, running(self.environment))

    async def kill_for_ever(self, chance: random.Random) -> None:
        """Kills one app after the other, and starts another in its place."""
        while True:
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
            place = chance.randrange(len(self.apps))
            self.apps[place].kill()
            self.kills += 1
            self.apps[place] = await self.start()

    def origins(self) -> Iterator[str]:
        """Yields where to send the next request, in turns."""
        for number in itertools.count():
            yield self.apps[number % len(self.apps)].origin


@dataclass
class Caller:
    """Somebody who follows a script and remembers what they were told."""

    number: int
    conversation_id: str | None = None
    ids: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)
    tries: int = 0

    async def talk(self, http: httpx2.AsyncClient, origins: Iterator[str]) -> None:
        """Says everything, each message until it is answered."""
        for position in range(MESSAGES):
            topic = "What is the current server time?" if position % 2 else "Hello."
            message = f"{topic} caller-{self.number}-message-{position}"
            answer = await self._say(http, origins, message, f"{uuid4()}")
            self.ids.add(answer["conversation_id"])
            self.conversation_id = answer["conversation_id"]
            self.told.append((message, answer["answer"]))

    async def _say(
        self, http: httpx2.AsyncClient, origins: Iterator[str], message: str, key: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"message": message, "tools": ["server_time"]}
        if self.conversation_id is not None:
            body["conversation_id"] = self.conversation_id
        headers = {**AUTH, "Idempotency-Key": key}
        while True:
            self.tries += 1
            body["stream"] = (self.number + self.tries) % 2 == 0
            with suppress(httpx2.TransportError):
                response = await http.post(f"{next(origins)}/chat", json=body, headers=headers)
                if (answer := self._read(response)) is not None:
                    return answer
            await asyncio.sleep(0.05)

    def _read(self, response: httpx2.Response) -> dict[str, Any] | None:
        if response.status_code == 409:
            return None
        assert response.status_code == 200, response.text
        if not response.headers["content-type"].startswith("text/event-stream"):
            whole: dict[str, Any] = response.json()
            return whole
        for block in response.text.split("\n\n"):
            data = json.loads(block.partition("data: ")[2] or "{}")
            if data.get("type") == "chat.created":
                self.ids.add(data["conversation_id"])
            if data.get("type") == "chat.completed":
                return dict(data)
        return None


async def check(caller: Caller, origin: str, http: httpx2.AsyncClient) -> Counter[str]:
    """Compares a stored conversation with what its caller was told."""
    response = await http.get(f"{origin}/conversations/{caller.conversation_id}", headers=AUTH)
    assert response.status_code == 200, response.text
    stored = [each for each in response.json()["messages"] if each["role"] != "tool"]
    asked = [each["content"] for each in stored if each["role"] == "user"]
    expected = [message for message, _ in caller.told]
    turns: dict[str, list[str]] = {}
    for each in stored:
        turns.setdefault(each["turn_id"], []).append(each["content"])
    pairs = [(texts[0], texts[-1]) for texts in turns.values()]
    return Counter(
        {
            "messages": len(expected),
            "lost": sum(pair not in pairs for pair in caller.told),
            "doubled": len(asked) - len(set(asked)),
            "mixed": sum(message not in expected for message in asked)
            + (pairs != caller.told and sorted(pairs) == sorted(caller.told)),
            "broken off": sum(each["incomplete"] for each in stored),
            "told of two ids": len(caller.ids) - 1,
        }
    )


async def run(conversations: int, chance: random.Random, fleet: Fleet) -> bool:
    """Runs all scripts and prints what came of them."""
    fleet.apps = [await fleet.start() for _ in range(APPS)]
    began = monotonic()
    killing = asyncio.create_task(fleet.kill_for_ever(chance))
    callers = [Caller(number) for number in range(conversations)]
    places = asyncio.Semaphore(CALLERS)
    origins = fleet.origins()
    async with httpx2.AsyncClient(timeout=60) as http:

        async def talk(caller: Caller) -> None:
            async with places:
                await caller.talk(http, origins)

        await asyncio.gather(*(talk(caller) for caller in callers))
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        app = await fleet.start()
        counts: Counter[str] = Counter()
        for caller in callers:
            counts.update(await check(caller, app.origin, http))
        listed = await count_listed(app.origin, http)
    counts["listed that nobody was told of"] = listed - conversations
    print(f"{conversations} conversations, {counts.pop('messages')} messages answered")
    print(f"{fleet.kills} kills of {APPS} apps in {monotonic() - began:.0f} s")
    print(f"{sum(caller.tries for caller in callers)} requests, repeats included")
    for name, count in counts.items():
        print(f"{name}: {count}")
    return not any(counts.values())


async def count_listed(origin: str, http: httpx2.AsyncClient) -> int:
    """Returns how many conversations are listed."""
    count, query = 0, {"limit": "100"}
    while True:
        response = await http.get(f"{origin}/conversations", params=query, headers=AUTH)
        page = response.json()
        count += len(page["conversations"])
        if page["cursor"] is None:
            return count
        query["cursor"] = page["cursor"]


def main() -> None:
    """Runs it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--store", choices=["folder", "azurite"], default="folder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(ThreadServer(create_stand_in()))
        stand_in = StandIn(server.origin)
        stack.callback(stand_in.close)
        # Slow enough to be killed in the middle of a word.
        stand_in.fault(chunk_delay=0.01, times=1_000_000)
        environment = {
            "MCP_API_KEY": KEY,
            "OPENAI_BASE_URL": stand_in.base_url,
            "OPENAI_API_KEY": "sk-test",
        }
        if options.store == "folder":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            environment["LOCAL_STORAGE_PATH"] = folder
        else:
            port = free_port()
            stack.enter_context(azurite_process.running(port))
            account = azurite_process.connection_string(port)
            environment["AZURE_STORAGE_CONNECTION_STRING"] = account
        fleet = Fleet(environment, stack)
        chance = random.Random(options.seed)
        sys.exit(0 if asyncio.run(run(options.conversations, chance, fleet)) else 1)


if __name__ == "__main__":
    main()
