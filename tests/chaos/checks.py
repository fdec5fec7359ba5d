"""What has to be true after callers have called and workers have been killed."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx2

from shared.settings import load_settings
from shared.storage import MediaStore, ObjectStore, Orphans, Storage
from shared.timing import Timing
from tests.chaos.callers import Ledger, Talk
from tests.chaos.workers import Fleet
from tests.conftest import AUTH, StandIn
from tests.paging import read_pages

SETTLE_RUNS = 50
MAX_LOCK_CHECKS = 40


async def check(
    fleet: Fleet, ledger: Ledger, settings: dict[str, str], stand_in: StandIn
) -> Counter[str]:
    """Compares what is stored with what callers were told.

    Args:
        fleet: Workers to ask.
        ledger: What callers were told.
        settings: App settings that lead to storage itself.
        stand_in: Knows what was paid for.
    """
    found: Counter[str] = Counter()
    await asyncio.sleep(Timing().lease + 2)
    place = await fleet.next()
    async with httpx2.AsyncClient(base_url=place.worker.origin, headers=AUTH, timeout=90) as http:
        for talk in ledger.talks:
            found += await _check_talk(http, talk)
        found += await _check_locks(http, ledger.talks)
        found += await _check_tasks(http, ledger)
        found += await _adopt(settings)
        found += await _check_media(http, ledger)
    found["paid twice"] += _paid_twice(stand_in)
    return found


async def _check_talk(http: httpx2.AsyncClient, talk: Talk) -> Counter[str]:
    response = await http.get(f"/conversations/{talk.id}", params={"limit": "100"})
    if response.status_code != 200:
        return Counter({"lost messages": len(talk.told)})
    turns: dict[str, list[str]] = {}
    for each in response.json()["messages"]:
        if each["role"] != "tool":
            turns.setdefault(each["turn_id"], []).append(each["content"])
    pairs = [(texts[0], texts[-1]) for texts in turns.values()]
    asked = [texts[0] for texts in turns.values()]
    return Counter(
        {
            "lost messages": sum(pair not in pairs for pair in talk.told),
            "doubled": len(asked) - len(set(asked)),
        }
    )


async def _check_locks(http: httpx2.AsyncClient, talks: list[Talk]) -> Counter[str]:
    # Those that were cut off come first.
    suspects = sorted(talks, key=lambda talk: -talk.uncertain)[:MAX_LOCK_CHECKS]
    locked = 0
    for talk in suspects:
        body = {"message": "Are you there?", "conversation_id": talk.id}
        locked += (await http.post("/chat", json=body)).status_code != 200
    return Counter({"locked conversations": locked})


async def _check_tasks(http: httpx2.AsyncClient, ledger: Ledger) -> Counter[str]:
    listed = (await http.post("/tools/list_tasks", json={})).json()["tasks"]
    titles = Counter(task["title"] for task in listed)
    return Counter(
        {
            "lost tasks": sum(titles[title] == 0 for title in ledger.tasks),
            "doubled": sum(count - 1 for count in titles.values()),
        }
    )


async def _adopt(settings: dict[str, str]) -> Counter[str]:
    """Adopts what has no record, and counts what still has none."""
    loaded = load_settings(settings)
    storage = Storage(loaded)
    orphans = Orphans(storage, MediaStore(storage, loaded), timedelta(0))
    adopted = 0
    for _ in range(SETTLE_RUNS):
        adopted += (await orphans.settle()).adopted
    state, media = storage.state, storage.media
    known = {_id(name) for name in await _names(state, "media/")}
    stored = {_id(name) for name in await _names(media, "")}
    await storage.aclose()
    return Counter(
        {"adopted": adopted, "orphaned": len(stored - known), "lost objects": len(known - stored)}
    )


async def _check_media(http: httpx2.AsyncClient, ledger: Ledger) -> Counter[str]:
    async def fetch(cursor: str | None) -> dict[str, Any]:
        query = {"limit": "100"} | ({} if cursor is None else {"cursor": cursor})
        page: dict[str, Any] = (await http.get("/media", params=query)).json()
        return page

    pages = await read_pages(fetch)
    listed = [each["id"] for page in pages for each in page["media"]]
    told = [*ledger.media.values(), *ledger.videos]
    unknown = [each["id"] for page in pages for each in page["media"] if each["id"] not in told]
    pictures = [each for each in unknown if each not in ledger.videos]
    return Counter(
        {
            "lost media": len(set(told) - set(listed)),
            # What nobody was told of has to belong to a call without a key that was cut off, or to a
            # video that nobody has asked for since it was done.
            "doubled": len(listed) - len(set(listed)) + max(0, len(pictures) - _unclaimed(ledger)),
        }
    )


def _unclaimed(ledger: Ledger) -> int:
    return len(ledger.uncertain_media) + ledger.failures["video never completed"]


def _paid_twice(stand_in: StandIn) -> int:
    """Counts pictures and videos that the provider has to take for two orders."""
    orders: dict[str, set[str]] = {}
    for request in stand_in.requests():
        if request["method"] == "POST" and request["path"].endswith(("/generations", "/videos")):
            prompt = str(request["body"].get("prompt"))
            headers = {name.lower(): value for name, value in dict(request["headers"]).items()}
            # One that is sent again under the same key is the same order for the provider.
            orders.setdefault(prompt, set()).add(headers.get("idempotency-key", ""))
    return sum(len(keys) - 1 for keys in orders.values())


async def _names(store: ObjectStore, prefix: str) -> list[str]:
    names: list[str] = []
    page = await store.list(prefix, 1000)
    names += [each.name for each in page.objects]
    while page.cursor is not None:
        page = await store.list(prefix, 1000, page.cursor)
        names += [each.name for each in page.objects]
    return names


def _id(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0].removesuffix("-thumbnail")
