"""The timer of the regular work, in the worker beside the streaming triggers."""

import asyncio
import json

from local.stand_in import VIDEO_MODEL
from tests.conftest import StandIn
from tests.worker.process import TIMEOUT_SECONDS, WorkerProcess, run_worker

HOST_STORAGE = {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}


def test_without_storage_of_the_host_there_is_no_timer(
    worker: WorkerProcess, app_settings: dict[str, str]
) -> None:
    assert worker.timers == {}
    with run_worker(app_settings | {"AzureWebJobsStorage": " "}) as process:
        assert process.timers == {}


async def test_timer_stores_a_video_that_nobody_asks_for(
    worker: WorkerProcess, app_settings: dict[str, str], stand_in: StandIn
) -> None:
    settings = app_settings | HOST_STORAGE | {"OPENAI_VIDEO_MODEL": VIDEO_MODEL}
    with run_worker(settings) as process:
        assert process.timers == {"housekeeping": "0 */5 * * * *"}
        assert process.functions == worker.functions
        async with process.client() as client:
            body = {"prompt": "A hill", "seconds": 1}
            ordered = await client.post("/tools/generate_video", json=body)
            assert ordered.status_code == 202, ordered.text
            listed: list[str] = []
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not listed:
                    await process.invoke("housekeeping")
                    page = (await client.get("/media", params={"kind": "video"})).json()
                    listed = [medium["content_type"] for medium in page["media"]]
        assert listed == ["video/webm"]
        line = await asyncio.to_thread(process.log.first, lambda line: '"videos_ended": 1' in line)
    assert line
    assert json.loads(line[line.index("{") :])["errors"] == 0
