"""The regular work in the local host, which needs no trigger for it."""

import asyncio
from types import ModuleType

import azure.functions as func
import httpx2

from local.host import create_host
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, StandIn

TIMEOUT_SECONDS = 60


def make_function_app(environment: dict[str, str]) -> ModuleType:
    """Returns what `function_app` is, with a timer only."""
    module = ModuleType("function_app")
    app = func.FunctionApp()

    @app.timer_trigger("timer", "0 */5 * * * *")
    async def housekeeping(timer: func.TimerRequest) -> None:
        raise AssertionError("The local host has no timer triggers.")

    vars(module).update(app=app, api=create_app(load_settings(environment)))
    return module


async def test_local_host_stores_a_video_that_nobody_asks_for(
    environment: dict[str, str], stand_in: StandIn
) -> None:
    function_app = make_function_app(environment)
    host = create_host(function_app, "", housekeeping_seconds=0.01)
    transport = httpx2.ASGITransport(function_app.api)
    async with (
        host.router.lifespan_context(host),
        httpx2.AsyncClient(transport=transport, base_url="http://app", headers=AUTH) as client,
    ):
        body = {"prompt": "A hill", "seconds": 1}
        assert (await client.post("/tools/generate_video", json=body)).status_code == 202
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (await client.get("/media")).json()["media"]:
                await asyncio.sleep(0)


def test_local_host_serves_http_triggers_only(environment: dict[str, str]) -> None:
    assert create_host(make_function_app(environment), "").routes == []
