"""Callers that use all of the app, and write down what they were told."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx2

from tests.chaos.workers import Fleet, send

CALLERS = 6
MESSAGES = 4
"""Of one conversation; afterwards its caller begins another."""

MAX_TRIES = 40
MAX_LOOKS = 60
"""At one video."""


@dataclass
class Talk:
    """A conversation as its caller knows it.

    Attributes:
        told: Messages and their answers.
        uncertain: Messages without a key whose answer never came.
    """

    id: str | None = None
    told: list[tuple[str, str]] = field(default_factory=list)
    uncertain: int = 0


@dataclass
class Ledger:
    """What all callers were told.

    Attributes:
        media: Ids by prompt.
        uncertain_media: Prompts without a key whose answer never came.
        keyed: Prompts that were sent with a key.
        failures: Answers that nobody's death explains.
    """

    talks: list[Talk] = field(default_factory=list)
    media: dict[str, str] = field(default_factory=dict)
    uncertain_media: set[str] = field(default_factory=set)
    tasks: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def acknowledged(self) -> Counter[str]:
        """Returns how many of each kind were acknowledged."""
        return Counter(
            {
                "messages": sum(len(talk.told) for talk in self.talks),
                "conversations": len(self.talks),
                "pictures": len(self.media),
                "tasks": len(self.tasks),
                "videos": len(self.videos),
            }
        )


@dataclass
class Caller:
    """One who calls, again and again."""

    number: int
    fleet: Fleet
    http: httpx2.AsyncClient
    ledger: Ledger
    chance: random.Random
    talk: Talk = field(default_factory=Talk)
    calls: int = 0

    async def call_until(self, ends_at: float) -> None:
        """Calls until the time is over, and ends what it has begun."""
        while monotonic() < ends_at:
            self.calls += 1
            is_keyed = self.chance.random() < 0.5
            act = self.chance.choices(
                [self._say, self._draw, self._add_task, self._film], [5, 3, 3, 1]
            )[0]
            await act(f"caller-{self.number}-{self.calls}", is_keyed)

    async def _say(self, mark: str, is_keyed: bool) -> None:
        if len(self.talk.told) >= MESSAGES or self.talk.uncertain:
            # A conversation whose turn was cut off is locked until the lease is over.
            self.talk = Talk()
        talk = self.talk
        topic = self.chance.choice(("Hello.", "What is the current server time?"))
        message = f"{topic} {mark}"
        body: dict[str, Any] = {
            "message": message,
            "tools": ["server_time"],
            "stream": self.chance.random() < 0.5,
        }
        if talk.id is not None:
            body["conversation_id"] = talk.id
        answer = await self._post("/chat", body, is_keyed)
        if answer is None:
            talk.uncertain += 1
        else:
            talk.id = answer["conversation_id"]
            talk.told.append((message, answer["answer"]))
        if talk.id is not None and talk not in self.ledger.talks:
            self.ledger.talks.append(talk)

    async def _draw(self, mark: str, is_keyed: bool) -> None:
        prompt = f"A hill {mark}"
        body = {"prompt": prompt, "size": "32x32"}
        answer = await self._post("/tools/generate_image", body, is_keyed)
        if answer is None:
            self.ledger.uncertain_media.add(prompt)
        else:
            self.ledger.media[prompt] = answer["media"][0]["id"]

    async def _add_task(self, mark: str, is_keyed: bool) -> None:
        if await self._post("/tools/add_task", {"title": mark}, is_keyed) is not None:
            self.ledger.tasks.append(mark)

    async def _film(self, mark: str, is_keyed: bool) -> None:
        body = {"prompt": f"A film {mark}", "seconds": 1}
        job = await self._post("/tools/generate_video", body, is_keyed)
        if job is None:
            return
        for _ in range(MAX_LOOKS):
            seen = await self._get(f"/videos/{job['id']}")
            if seen is not None and seen["status"] == "completed":
                self.ledger.videos.append(seen["media"]["id"])
                return
        self.ledger.failures["video never completed"] += 1

    async def _post(self, path: str, body: dict[str, Any], is_keyed: bool) -> dict[str, Any] | None:
        """Posts once, with a key until it is answered; None where the answer never came."""
        headers = {"Idempotency-Key": f"{uuid4()}"} if is_keyed else {}
        for _ in range(MAX_TRIES if is_keyed else 1):
            answer = await self._try("POST", path, json=body, headers=headers)
            if answer is not None:
                return answer
        return None

    async def _get(self, path: str) -> dict[str, Any] | None:
        return await self._try("GET", path)

    async def _try(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        attempt = await send(self.fleet, self.http, method, path, **options)
        self.ledger.counts["attempts"] += 1
        answer = None if attempt.response is None else read(attempt.response)
        if answer is not None and "code" not in answer:
            return answer
        if attempt.was_cut:
            self.ledger.counts["cut"] += 1
            return None
        reason = "no answer" if answer is None else answer["code"]
        self.ledger.failures[f"{method} {path.split('/')[1]} {reason}"] += 1
        return None


def read(response: httpx2.Response) -> dict[str, Any] | None:
    """Returns what an answer says, in its end where it is a stream; None where it has no end."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        document: dict[str, Any] = response.json()
        return document
    for block in response.text.split("\n\n"):
        data = json.loads(block.partition("data: ")[2] or "{}")
        if data.get("type") in ("chat.completed", "chat.error"):
            return dict(data)
    return None
