"""Warnings before the end of a configured model."""

import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from shared.openai_service import Capability, announced_shutdown, shutdown_warning
from shared.openai_service.provider_config import Provider, ProviderConfig
from tests.conftest import AUTH, MakeClient, StandIn


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


@pytest.mark.parametrize(("days", "warns"), [(61, False), (60, True), (1, True), (-1, True)])
async def test_list_of_models_warns_from_60_days_before_an_end(
    client: httpx2.AsyncClient, stand_in: StandIn, days: int, warns: bool
) -> None:
    row = {"id": "gpt-4o-mini-tts", "object": "model", "shutdown_date": in_days(days)}
    stand_in.fault(body=json.dumps({"object": "list", "data": [row]}))
    audio = (await client.post("/tools/list_supported_models")).json()["audio"]
    assert audio["days_left"] == days
    if not warns:
        assert audio["warning"] is None
        return
    assert audio["warning"].startswith("The model 'gpt-4o-mini-tts' for audio end")
    assert "OPENAI_AUDIO_MODEL" in audio["warning"]
    assert "gpt-realtime-2.1-mini" in audio["warning"]


async def test_health_warns_callers_with_a_key_of_what_a_provider_has_listed(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment, {})
    row = {"id": "gpt-6-luna", "object": "model", "shutdown_date": in_days(3)}
    stand_in.fault(body=json.dumps({"object": "list", "data": [row]}))
    deep = await client.get("/health?deep=true", headers=AUTH)
    assert (deep.status_code, deep.json()["status"]) == (200, "healthy")
    known = (await client.get("/health", headers=AUTH)).json()
    [warning] = known["warnings"]
    assert deep.json()["warnings"] == [warning]
    assert warning.startswith("The model 'gpt-6-luna' for chat ends on ")
    assert "warnings" not in (await client.get("/health")).json()


def test_announced_dates_are_those_of_openai_itself() -> None:
    openai = ProviderConfig(Provider.OPENAI, "https://api.openai.com/v1", None, "OPENAI_API_KEY")
    other = ProviderConfig(Provider.COMPATIBLE, "https://tts.example/v1", None, "OPENAI_API_KEY")
    assert announced_shutdown(openai, "tts-1") == "2027-01-06"
    assert announced_shutdown(other, "tts-1") is None
    assert announced_shutdown(openai, "gpt-6-luna") is None


async def test_health_knows_announced_dates_without_asking(make_client: MakeClient) -> None:
    settings = {"OPENAI_API_KEY": "sk-test", "OPENAI_CHAT_MODEL": "gpt-image-1"}
    client = make_client(settings | {"MCP_API_KEY": AUTH["Authorization"].split()[1]})
    warnings = (await client.get("/health")).json()["warnings"]
    # The date of this one is past before long; of the others the tests know no day.
    assert any("'gpt-image-1' for chat" in warning for warning in warnings)


@pytest.mark.parametrize("day", ["", "soon", "2027"])
def test_date_that_is_none_warns_of_nothing(day: str) -> None:
    assert shutdown_warning(Capability.CHAT, "m", day) is None
