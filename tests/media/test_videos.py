"""Video jobs: ordered, asked about, copied once."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from shared.timing import Timing
from shared.tools.video import copies, jobs
from tests.conftest import MakeClient, StandIn, ThreadServer
from tests.media.conftest import Api
from tests.media.support import without_links
from tests.waiting import until


@pytest.fixture
def timing() -> Timing:
    # The provider asks to be left alone for 100 ms; the tests do not wait.
    return Timing(longest_video_poll=0)


async def look(api: Api, job_id: str) -> dict[str, Any]:
    response = await api.http.get(f"/videos/{job_id}")
    assert response.status_code == 200, response.text
    job: dict[str, Any] = response.json()
    return job


async def finish(api: Api, job_id: str) -> dict[str, Any]:
    return await until(
        lambda: look(api, job_id), lambda job: job["status"] in ("completed", "failed")
    )


def polls(stand_in: StandIn) -> int:
    return sum(
        request["method"] == "GET" and not request["path"].endswith("/content")
        for request in stand_in.requests()
    )


async def test_video_is_ordered_awaited_and_opened(api: Api, stand_in: StandIn) -> None:
    response = await api.http.post(
        "/tools/generate_video", json={"prompt": "A hill", "seconds": 1, "size": "64x48"}
    )
    assert response.status_code == 202
    ordered = response.json()
    job_id = ordered["id"]
    assert ordered == {"id": job_id, "status": "queued", "progress": 0, "retry_after": 1}
    assert response.headers["location"] == f"/videos/{job_id}"
    assert response.headers["retry-after"] == "1"
    [sent] = stand_in.requests()
    assert sent["body"] == {
        "model": "stand-in-video",
        "prompt": "A hill",
        "seconds": "1",
        "size": "64x48",
    }
    response = await api.http.get(f"/videos/{job_id}")
    assert response.headers["retry-after"] == "1"
    assert response.json() == {
        "id": job_id,
        "status": "in_progress",
        "progress": 50,
        "retry_after": 1,
    }
    done = await look(api, job_id)
    media = done.pop("media")
    assert done == {"id": job_id, "status": "completed", "progress": 100}
    assert media["content_type"] == "video/webm"
    shown = await api.open(media["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "video/webm")
    assert shown.content.startswith(b"\x1aE\xdf\xa3")
    assert len(shown.content) == media["size_bytes"]
    still = await api.open(media["thumbnail_url"])
    assert still.headers["content-type"] in ("image/webp", "image/png")
    assert await api.ids(kind="video") == [media["id"]]
    asked = len(stand_in.requests())
    again = await api.call("get_video", job_id=job_id)
    assert again["media"]["id"] == media["id"]
    assert len(stand_in.requests()) == asked


async def test_jobs_are_listed_newest_first_without_asking_the_provider(
    api: Api, stand_in: StandIn
) -> None:
    assert (await api.http.get("/videos")).json() == {"videos": [], "cursor": None}
    first, second = [
        await api.call("generate_video", prompt=prompt, seconds=1) for prompt in ("A hill", "A sea")
    ]
    done = await finish(api, first["id"])
    asked = polls(stand_in)
    newest = (await api.http.get("/videos", params={"limit": 1})).json()
    rest = (await api.http.get("/videos", params={"cursor": newest["cursor"]})).json()
    assert rest["cursor"] is None
    [sea], [hill] = newest["videos"], rest["videos"]
    assert sea.pop("created_at") > hill.pop("created_at")
    assert sea == {**second, "prompt": "A sea", "model": "stand-in-video"}
    assert without_links(hill) == {
        **without_links(done),
        "prompt": "A hill",
        "model": "stand-in-video",
    }
    assert polls(stand_in) == asked
    info = (await api.http.get(f"/media/{done['media']['id']}/info")).json()
    told = [info[key] for key in ("kind", "name", "tool", "model", "prompt")]
    assert told == ["video", "a-hill", "generate_video", "stand-in-video", "A hill"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=%00", "cursor=jobs"])
async def test_wrong_query_of_the_list_of_jobs_is_named(local_api: Api, query: str) -> None:
    response = await local_api.http.get(f"/videos?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["errors"][0]["loc"] == ["query", query.split("=")[0]]


async def test_video_can_begin_with_a_picture(local_api: Api, stand_in: StandIn) -> None:
    made = await local_api.call("generate_image", prompt="A hill", size="32x32")
    [picture] = made["media"]
    await local_api.call("generate_video", prompt="It moves", image=picture["id"])
    assert stand_in.bodies()[-1]["input_reference"] == {
        "filename": f"{picture['id']}.png",
        "content_type": "image/png",
        "size": picture["size_bytes"],
    }
    status, _, [complaint] = await local_api.refuse("generate_video", prompt="x", image="none")
    assert (status, complaint["loc"]) == (422, ["body", "image"])


async def test_provider_is_asked_no_more_often_than_it_wants(
    make_client: MakeClient,
    environment: dict[str, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
) -> None:
    patient = Timing(default_video_poll=300, longest_video_poll=300)
    local_api = Api(make_client(environment, own_timing=patient), browser)
    stand_in.fault(headers={"openai-poll-after-ms": "200000"})
    job = await local_api.call("generate_video", prompt="A hill")
    for _ in range(3):
        assert (await look(local_api, job["id"]))["status"] == "queued"
    assert polls(stand_in) == 0


async def test_many_who_ask_at_once_copy_the_video_once(api: Api, stand_in: StandIn) -> None:
    job = await api.call("generate_video", prompt="A hill", seconds=1)
    await look(api, job["id"])
    jobs = await asyncio.gather(*(look(api, job["id"]) for _ in range(10)))
    assert "completed" in {each["status"] for each in jobs}
    done = await finish(api, job["id"])
    contents = [
        request
        for request in stand_in.requests()
        if request["path"].endswith("/content") and not request["query"]
    ]
    assert len(contents) == 1
    assert await api.ids() == [done["media"]["id"]]


async def test_failed_video_says_why(api: Api, stand_in: StandIn) -> None:
    job = await api.call("generate_video", prompt="A hill")
    stand_in.fault(video_error="The hill is too high.")
    failed = await finish(api, job["id"])
    assert failed["status"] == "failed"
    assert failed["error"]["message"] == "The hill is too high."
    assert set(failed) == {"id", "status", "progress", "error"}
    asked = len(stand_in.requests())
    assert await look(api, job["id"]) == failed
    assert len(stand_in.requests()) == asked


async def test_young_job_that_the_provider_does_not_know_is_kept(
    local_api: Api, stand_in: StandIn
) -> None:
    job = await local_api.call("generate_video", prompt="A hill", seconds=1)
    stand_in.fault(status=404, message="No such route")
    response = await local_api.http.get(f"/videos/{job['id']}")
    assert (response.status_code, response.json()["code"]) == (400, "provider_rejected")
    assert "No such route" in response.json()["detail"]
    assert (await finish(local_api, job["id"]))["status"] == "completed"


async def test_job_whose_provider_has_words_of_its_own_goes_on(
    local_api: Api, stand_in: StandIn
) -> None:
    job = await local_api.call("generate_video", prompt="A hill", seconds=1)
    stand_in.fault(body='{"id": "video_1", "status": "preprocessing"}')
    assert (await look(local_api, job["id"]))["status"] == "in_progress"
    assert (await finish(local_api, job["id"]))["status"] == "completed"


async def test_finished_video_that_cannot_be_had_yet_is_asked_for_again(
    local_api: Api, stand_in: StandIn
) -> None:
    job = await local_api.call("generate_video", prompt="A hill", seconds=1)
    stand_in.fault(body='{"id": "video_1", "status": "completed"}')
    stand_in.fault(status=404, message="Not ready")
    stand_in.fault(status=404, message="Not ready")
    response = await local_api.http.get(f"/videos/{job['id']}")
    assert (response.status_code, response.json()["code"]) == (400, "provider_rejected")
    assert (await finish(local_api, job["id"]))["status"] == "completed"


async def test_job_that_the_provider_forgot_has_failed(
    local_api: Api, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "GIVE_UP_AFTER", timedelta(0))
    job = await local_api.call("generate_video", prompt="A hill")
    stand_in.fault(status=404, message="No such video")
    failed = await look(local_api, job["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "provider_rejected")
    assert "No such video" in failed["error"]["message"]


@pytest.mark.parametrize("fault", [{"status": 500}, {"body": "{}"}, {"cut": "connection"}])
async def test_provider_that_does_not_answer_leaves_the_job_as_it_is(
    local_api: Api, stand_in: StandIn, fault: dict[str, Any]
) -> None:
    job = await local_api.call("generate_video", prompt="A hill", seconds=1)
    stand_in.fault(**fault)
    response = await local_api.http.get(f"/videos/{job['id']}")
    assert response.status_code == 502
    assert (await finish(local_api, job["id"]))["status"] == "completed"


async def test_copy_that_is_cut_is_made_again(api: Api, stand_in: StandIn) -> None:
    job = await api.call("generate_video", prompt="A hill", seconds=1)
    await look(api, job["id"])
    stand_in.fault()
    stand_in.fault()
    stand_in.fault(cut="connection")
    response = await api.http.get(f"/videos/{job['id']}")
    assert (response.status_code, response.json()["code"]) == (502, "provider_truncated")
    assert await api.ids() == []
    done = await finish(api, job["id"])
    shown = await api.open(done["media"]["url"])
    assert len(shown.content) == done["media"]["size_bytes"]
    assert await api.ids() == [done["media"]["id"]]


async def test_video_without_a_still_is_a_video(local_api: Api, stand_in: StandIn) -> None:
    stand_in.fault(no_thumbnail=True)
    job = await local_api.call("generate_video", prompt="A hill", seconds=1)
    done = await finish(local_api, job["id"])
    assert "thumbnail_url" not in done["media"]


async def test_video_at_a_url_is_fetched_through_the_guard(
    make_client: MakeClient,
    environment: dict[str, str],
    browser: httpx2.AsyncClient,
    local_api: Api,
    stand_in: StandIn,
) -> None:
    video = b"\x1aE\xdf\xa3" + bytes(100_000)
    served = Starlette(routes=[Route("/v.webm", lambda _: Response(video))])
    with ThreadServer(served) as files:
        stand_in.fault(as_url=f"{files.origin}/v.webm")
        job = await local_api.call("generate_video", prompt="A hill")
        await look(local_api, job["id"])
        response = await local_api.http.get(f"/videos/{job['id']}")
        assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
        assert "https" in response.json()["detail"]
        allowing = environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
        done = await finish(Api(make_client(allowing), browser), job["id"])
    assert (done["media"]["size_bytes"], done["media"]["content_type"]) == (
        len(video),
        "video/webm",
    )


async def test_video_over_the_limit_is_not_stored(
    local_api: Api, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MAX_VIDEO_BYTES", 100_000)
    stand_in.fault(bytes=200_000)
    job = await local_api.call("generate_video", prompt="A hill")
    await look(local_api, job["id"])
    response = await local_api.http.get(f"/videos/{job['id']}")
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert await local_api.ids() == []


async def test_without_an_endpoint_the_settings_are_named(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | {"OPENAI_VIDEO_MODEL": ""})
    response = await client.post("/tools/generate_video", json={"prompt": "A hill"})
    assert (response.status_code, response.json()["code"]) == (503, "not_configured")
    for word in ("OpenAI closed its own", "OPENAI_VIDEO_MODEL", "OPENAI_VIDEO_BASE_URL"):
        assert word in response.json()["detail"]
    assert stand_in.requests() == []


@pytest.mark.parametrize("job_id", ["x", "0" * 44, "../../etc/passwd", "%2e%2e"])
async def test_unknown_job_is_not_found(local_api: Api, job_id: str) -> None:
    response = await local_api.http.post("/tools/get_video", json={"job_id": job_id})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
