"""The agent on a history that its caller sends, of which nothing is stored."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.agent import Agent, ChatCreated, HistoryInput, fold
from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.services import Services
from shared.settings import load_settings
from shared.tools import ClockTools
from tests.agents import make_agent
from tests.conftest import StandIn


@pytest.fixture
async def services(environment: dict[str, str]) -> AsyncIterator[Services]:
    services = Services.make(load_settings(environment))
    yield services
    await services.aclose()


@pytest.fixture
def agent(environment: dict[str, str], services: Services) -> Agent:
    return make_agent(load_settings(environment), services, ClockTools())


def make_context(**fields: Any) -> CallContext:
    return CallContext(Principal("p", frozenset({"tools"})), Deadline.after(20), **fields)


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "My name is Ada"},
    {"role": "assistant", "content": "Hello Ada"},
    {"role": "user", "content": "What is the current server time?"},
]


async def test_history_is_answered_with_tools_and_nothing_is_stored(
    agent: Agent, stand_in: StandIn, services: Services
) -> None:
    answer = await fold(agent.events(HistoryInput(messages=HISTORY), make_context()))
    assert answer["conversation_id"] is None
    assert [call["name"] for call in answer["tool_calls"]] == ["server_time"]
    first = stand_in.bodies()[0]["messages"]
    assert (first[0]["role"], first[1:]) == ("system", HISTORY)
    assert (await services.conversations.list("p", 10, None))["conversations"] == []


async def test_instructions_in_a_history_take_the_place_of_the_configured_ones(
    agent: Agent, stand_in: StandIn
) -> None:
    history = [{"role": "developer", "content": "Be brief"}, *HISTORY]
    await fold(agent.events(HistoryInput(messages=history), make_context()))
    assert stand_in.bodies()[0]["messages"] == history


async def test_history_with_a_key_is_answered_once(agent: Agent, stand_in: StandIn) -> None:
    answers = [
        await fold(agent.events(HistoryInput(messages=HISTORY), make_context(idempotency_key="k")))
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(stand_in.requests()) == 2


async def test_events_of_a_history_begin_with_the_model_and_no_conversation(agent: Agent) -> None:
    events = agent.events(HistoryInput(messages=HISTORY), make_context())
    assert await anext(events) == ChatCreated(None, "gpt-6-luna")
    await events.aclose()
