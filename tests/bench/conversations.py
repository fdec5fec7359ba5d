"""How long an answer takes in a short conversation and in a long one.

    python -m tests.bench.conversations

Two conversations, one of 50 messages and one of 5,000, are continued in turns. Their messages are so
long that both use up the default budget for history: the model is sent as much for the short one as
for the long one, and what differs is what the length of the log costs. The provider is the stand-in,
in the same process.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import httpx2

from local.stand_in import create_stand_in
from shared.app import create_app
from shared.conversations import AssistantLine, EndLine, Line, UserLine
from shared.conversations.lines import ConversationLine, Summary
from shared.conversations.log import ConversationLog
from shared.conversations.log_writer import LogWriter
from shared.settings import load_settings
from shared.storage import Operation, Storage
from tests.conftest import AUTH, KEY, ThreadServer
from tests.ports import free_port
from tests.storage import azurite as azurite_process

LENGTHS = (50, 5000)
TEXT = "All work and no play makes Jack a dull boy. " * 64


async def fill(settings: dict[str, str], messages: int) -> str:
    """Stores a conversation and returns its id."""
    storage = Storage(load_settings(settings))
    conversation_id = Operation.begin().id("conversation")
    log = ConversationLog(storage.state, "default", conversation_id)
    writer = LogWriter(log, None, storage)
    title = TEXT[:80]
    summary = Summary(title=title, model=None, usage=None)
    head: list[Line] = [ConversationLine(title=title)]
    for number in range(messages // 2):
        run = f"{number:044x}"
        await writer.append(*head, UserLine(run=run, content=f"{number} {TEXT}"))
        await writer.append(
            AssistantLine(run=run, content=TEXT),
            EndLine(run=run, status="complete", summary=summary),
        )
        head = []
    await storage.aclose()
    return conversation_id


async def measure(origin: str, ids: Sequence[str], rounds: int) -> list[list[float]]:
    """Continues conversations in turns and returns the milliseconds of each answer."""
    times: list[list[float]] = [[] for _ in ids]
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as http:
        for number in range(rounds + 5):
            for place, conversation_id in enumerate(ids):
                body = {"message": f"Hello {number}", "conversation_id": conversation_id}
                began = perf_counter()
                response = await http.post("/chat", json={**body, "tools": "none"})
                took = (perf_counter() - began) * 1000
                assert response.status_code == 200, response.text
                if number >= 5:
                    times[place].append(took)
    return times


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--store", choices=["folder", "azurite"], default="folder")
    options = parser.parse_args()
    with ExitStack() as stack:
        stand_in = stack.enter_context(ThreadServer(create_stand_in()))
        settings = {
            "MCP_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{stand_in.origin}/v1",
            "OPENAI_API_KEY": "sk-bench",
        }
        if options.store == "folder":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            settings["LOCAL_STORAGE_PATH"] = str(Path(folder))
        else:
            port = free_port()
            stack.enter_context(azurite_process.running(port))
            account = azurite_process.connection_string(port)
            settings["AZURE_STORAGE_CONNECTION_STRING"] = account
        ids = [asyncio.run(fill(settings, length)) for length in LENGTHS]
        app = stack.enter_context(ThreadServer(create_app(load_settings(settings))))
        all_times = asyncio.run(measure(app.origin, ids, options.rounds))
    for length, times in zip(LENGTHS, all_times, strict=True):
        row = {
            "messages": length,
            "p50_ms": round(median(times), 1),
            "p95_ms": round(quantiles(times, n=20)[-1], 1),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
