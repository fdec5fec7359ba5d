"""`/media`: listing, links, ranges, uploads, deletion, and whose they are."""

import json
import logging
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx2
import pytest

from shared.routes import media as media_routes
from shared.routes.media_files import SVG_POLICY
from shared.storage import cache_control
from shared.storage.ids import is_id
from shared.storage.media import index as media_index
from tests.conftest import AUTH, KEY, MakeClient, StandIn, digest
from tests.media.conftest import Api, kept_for
from tests.media.support import WAV, png, without_links
from tests.paging import read_pages
from tests.waiting import until


async def upload(api: Api, content: bytes | None = None) -> str:
    response = await api.http.post("/media", content=content or png())
    assert response.status_code == 201, response.text
    media_id: str = response.json()["id"]
    return media_id


async def test_media_are_listed_newest_first_in_pages(api: Api) -> None:
    ids = [await upload(api) for _ in range(5)]
    spoken = await api.call("synthesize_speech", text="Hello", response_format="wav")
    everything = [spoken["media"]["id"], *reversed(ids)]
    assert await api.ids() == everything
    assert await api.ids(kind="audio") == everything[:1]
    assert await api.ids(kind="video") == []

    async def fetch(cursor: str | None) -> Any:
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        return (await api.http.get("/media", params=query)).json()

    pages = [[each["id"] for each in page["media"]] for page in await read_pages(fetch)]
    assert pages == [everything[:2], everything[2:4], everything[4:]]
    images = (await api.http.get("/media", params={"limit": 5, "kind": "image"})).json()
    assert [each["id"] for each in images["media"]] == everything[1:]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "kind=text", "cursor=%00", "cursor=a%0A", "cursor=%7F"],
)
async def test_wrong_query_is_named(api: Api, query: str) -> None:
    response = await api.http.get(f"/media?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["errors"][0]["loc"] == ["query", query.split("=")[0]]


async def test_link_to_what_was_stored_under_another_prefix_opens_and_cannot_be_changed(
    make_client: MakeClient, environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    await upload(Api(make_client(environment), browser))
    local_api = Api(make_client(environment | {"AZURE_BLOB_PATH_PREFIX": "new"}), browser)
    [media] = (await local_api.http.get("/media")).json()["media"]
    parts = urlsplit(media["url"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}

    async def status(**changes: str) -> int:
        changed = {**query, **changes}
        url = urlunsplit(parts._replace(query=urlencode(changed)))
        return (await local_api.open(url)).status_code

    assert await status() == 200
    assert await status(object=query["object"].replace("images", "../state/images")) == 401
    assert await status(expires="1") == 401
    assert await status(expires="never") == 401
    assert await status(signature="") == 401
    assert await status(signature="0" * 64) == 401


async def test_medium_opens_with_a_key_after_its_link_has_expired(
    make_client: MakeClient, stored_environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    api = Api(make_client(stored_environment | {"MEDIA_URL_TTL_SECONDS": "1"}), browser)
    media_id = await upload(api)
    [media] = (await api.http.get("/media")).json()["media"]
    expired = await until(lambda: api.open(media["url"]), lambda answer: answer.status_code != 200)
    assert expired.status_code in (401, 403)
    if media["url"].startswith("http://localhost:7071/"):
        path = media["url"].removeprefix("http://localhost:7071")
        answer = await api.http.get(path)
        if answer.status_code == 302:
            answer = await browser.get(answer.headers["location"])
        assert answer.content == png()
    response = await api.http.get(f"/media/{media_id}")
    if response.status_code == 302:
        assert response.headers["cache-control"] == "no-store"
        response = await browser.get(response.headers["location"])
    assert (response.status_code, response.content) == (200, png())


async def test_ranges_of_local_files_are_served(local_api: Api) -> None:
    media_id = await upload(local_api)
    whole = png()
    response = await local_api.http.get(f"/media/{media_id}", headers={"Range": "bytes=1-3"})
    assert (response.status_code, response.content) == (206, whole[1:4])
    assert response.headers["content-range"] == f"bytes 1-3/{len(whole)}"
    response = await local_api.http.get(f"/media/{media_id}", headers={"Range": "bytes=-2"})
    assert response.content == whole[-2:]
    beyond = {"Range": f"bytes={len(whole)}-"}
    response = await local_api.http.get(f"/media/{media_id}", headers=beyond)
    assert response.status_code == 416


@pytest.mark.parametrize("name", ["link", "key"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("bytes=999999-", 416),
        ("bytes=5-1", 400),
        ("bytes=", 400),
        ("bytes=x-y", 400),
        ("lines=1-3", 400),
        ("nonsense", 400),
    ],
)
async def test_range_that_cannot_be_served_answers_in_the_shape_of_errors(
    local_api: Api, name: str, sent: str, status: int
) -> None:
    media_id = await upload(local_api)
    [media] = (await local_api.http.get("/media")).json()["media"]
    path = f"/media/{media_id}"
    if name == "link":
        path = media["url"].removeprefix("http://localhost:7071")
    response = await local_api.http.get(path, headers={"Range": sent})
    body = response.json()
    assert (response.status_code, body["code"]) == (status, "invalid_request")
    assert "Range" in body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert response.headers.get("content-range") == (
        f"bytes */{len(png())}" if status == 416 else None
    )


async def test_caches_keep_what_a_key_opened_for_that_key_only(local_api: Api) -> None:
    media_id = await upload(local_api)
    with_key = await local_api.http.get(f"/media/{media_id}")
    assert with_key.headers["vary"] == "Authorization, X-Api-Key, x-functions-key"
    [media] = (await local_api.http.get("/media")).json()["media"]
    assert "vary" not in (await local_api.open(media["url"])).headers


async def test_drawing_that_is_served_by_the_app_may_not_run_anything(local_api: Api) -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    media_id = await upload(local_api, drawing)
    response = await local_api.http.get(f"/media/{media_id}")
    assert response.headers["content-type"] == "image/svg+xml"
    assert response.headers["content-security-policy"] == SVG_POLICY
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_caches_keep_a_medium_no_longer_than_its_link_holds(
    make_client: MakeClient, stored_environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    api = Api(make_client(stored_environment | {"MEDIA_URL_TTL_SECONDS": "90"}), browser)
    media_id = await upload(api)
    [media] = (await api.http.get("/media")).json()["media"]
    assert 0 < kept_for(await api.open(media["url"])) <= 90
    await api.http.delete(f"/media/{media_id}")
    assert (await api.open(media["url"])).status_code == 404


def test_public_caches_ask_again_too() -> None:
    assert cache_control(timedelta(hours=1), is_public=True) == "public, max-age=3600"


async def test_medium_is_told_with_what_it_was_made_of_and_a_fresh_link(
    api: Api, stand_in: StandIn
) -> None:
    prompt = "A red fox, in the snow! " + "x" * 2000
    result = await api.call("generate_image", prompt=prompt, size="32x32")
    [made] = result["media"]
    info = (await api.http.get(f"/media/{made['id']}/info")).json()
    assert (await api.open(info["url"])).content.startswith(b"\x89PNG")
    assert without_links(info) == {
        **without_links(made),
        "kind": "image",
        "name": "a-red-fox-in-the-snow",
        "tool": "generate_image",
        "model": result["model"],
        "prompt": prompt[:1000],
        "cost_usd": pytest.approx(6.5e-05),
    }
    [listed] = (await api.http.get("/media")).json()["media"]
    assert without_links(listed) == without_links(info)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?name=Größe%20(2).final.PNG", "größe-2-final"),
        ("?name=../../etc/passwd", "passwd"),
        ("?name=%E2%80%AE%00.png", "image"),
        ("", "image"),
    ],
)
async def test_upload_is_named_after_its_file(local_api: Api, query: str, name: str) -> None:
    response = await local_api.http.post(f"/media{query}", content=png())
    assert response.status_code == 201, response.text
    info = (await local_api.http.get(f"/media/{response.json()['id']}/info")).json()
    origin = {key: info[key] for key in ("kind", "name", "tool", "model", "prompt", "cost_usd")}
    assert origin == {
        "kind": "image",
        "name": name,
        "tool": None,
        "model": None,
        "prompt": None,
        "cost_usd": None,
    }


async def test_spoken_clip_is_told_with_its_text(local_api: Api) -> None:
    spoken = await local_api.call("synthesize_speech", text="Hello, world")
    info = (await local_api.http.get(f"/media/{spoken['media']['id']}/info")).json()
    told = [info[key] for key in ("name", "tool", "model", "prompt")]
    assert told == ["hello-world", "synthesize_speech", spoken["model"], "Hello, world"]


async def test_cursors_name_nothing_that_is_stored(api: Api) -> None:
    for _ in range(2):
        await upload(api)
    page = (await api.http.get("/media", params={"limit": 1})).json()
    assert re.fullmatch(r"[A-Za-z0-9_-]+", page["cursor"])
    rest = await api.http.get("/media", params={"limit": 1, "cursor": page["cursor"]})
    assert (len(rest.json()["media"]), rest.json()["cursor"]) == (1, None)
    for wrong in ("media/x.json", "a", "AAAA", page["cursor"][1:]):
        refused = await api.http.get("/media", params={"cursor": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), wrong


async def test_link_is_short_enough_to_be_copied_and_names_its_medium(
    api: Api, stored_environment: dict[str, str]
) -> None:
    media_id = await upload(api)
    job = await api.call("generate_video", prompt="A hill", seconds=1)
    done = await until(
        lambda: api.call("get_video", job_id=job["id"]), lambda seen: seen["status"] == "completed"
    )
    info = (await api.http.get(f"/media/{media_id}/info")).json()
    for link in (info["url"], done["media"]["url"], done["media"]["thumbnail_url"]):
        path = link.removeprefix("http://localhost:7071")
        assert path.startswith(f"/m/{media_id if link == info['url'] else done['media']['id']}?s=")
        assert len(path) <= 80
        assert (await api.open(link)).status_code == 200
    is_blob = "AZURE_STORAGE_CONNECTION_STRING" in stored_environment
    answer = await api.http.get(info["url"].removeprefix("http://localhost:7071"))
    assert (answer.status_code, "location" in answer.headers) == (
        (302, True) if is_blob else (200, False)
    )


async def test_short_link_opens_what_it_was_made_for_and_nothing_else(api: Api) -> None:
    media_id, other_id = await upload(api), await upload(api, png(9, 9))
    url = (await api.http.get(f"/media/{media_id}/info")).json()["url"]
    signature = url.partition("?s=")[2]
    payload = bytearray(urlsafe_b64decode(signature))
    for position in (0, 4, 17):
        changed = bytearray(payload)
        changed[position] ^= 1
        forged = url.replace(signature, urlsafe_b64encode(changed).decode())
        assert (await api.open(forged)).status_code == 401
    for wrong in (
        url.replace(media_id, other_id),
        f"{url}x",
        url[:-4],
        url.partition("s=")[0] + "s=é",
    ):
        refused = await api.open(wrong)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized"), wrong


async def test_public_base_url_makes_links_that_never_expire(
    make_client: MakeClient, stored_environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    base = "https://cdn.example/pictures"
    settings = stored_environment | {
        "AZURE_BLOB_PUBLIC_BASE_URL": base,
        "AZURE_BLOB_PATH_PREFIX": "tenant/one",
        "AZURE_BLOB_IMAGE_ROOT": "art",
    }
    api = Api(make_client(settings), browser)
    media_id = await upload(api)
    [media] = (await api.http.get("/media")).json()["media"]
    if "AZURE_STORAGE_CONNECTION_STRING" not in stored_environment:
        assert media["url"].startswith("http://localhost:7071/m/")
        return
    created = media["created_at"][:10].replace("-", "/")
    assert media["url"] == f"{base}/tenant/one/art/{created}/{media_id}.png"
    assert media["expires_at"] is None


async def test_upload_is_what_its_bytes_are(api: Api) -> None:
    response = await api.http.post(
        "/media", content=png(30, 20), headers={"Content-Type": "audio/wav"}
    )
    assert response.status_code == 201
    media = response.json()
    assert is_id(media.pop("id"))
    assert media.pop("url")
    assert media.pop("created_at") < media.pop("expires_at")
    assert media == {
        "content_type": "image/png",
        "size_bytes": len(png(30, 20)),
        "width": 30,
        "height": 20,
    }


@pytest.mark.parametrize("content", [b"", b"hello", b"<html></html>", b"{}"])
async def test_upload_of_no_known_format_is_refused(local_api: Api, content: bytes) -> None:
    response = await local_api.http.post("/media", content=content)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "image/png" in response.json()["detail"]
    assert await local_api.ids() == []


async def test_samples_are_taken_for_what_their_content_type_says(local_api: Api) -> None:
    spoken = await local_api.call("synthesize_speech", text="Hello", response_format="pcm")
    samples = (await local_api.open(spoken["media"]["url"])).content
    refused = await local_api.http.post("/media", content=samples)
    assert (refused.status_code, "Content-Type: audio/pcm" in refused.text) == (422, True)
    headers = {"Content-Type": "Audio/PCM; rate=24000"}
    stored = await local_api.http.post("/media", content=samples, headers=headers)
    assert (stored.status_code, stored.json()["content_type"]) == (201, "audio/pcm")
    assert (await local_api.open(stored.json()["url"])).content == samples
    empty = await local_api.http.post("/media", content=b"", headers=headers)
    assert empty.status_code == 422


async def test_medium_that_a_browser_has_is_not_sent_again(local_api: Api) -> None:
    media_id = await upload(local_api)
    path = f"/media/{media_id}"
    etag = (await local_api.http.get(path)).headers["etag"]
    for sent in (etag, f'"x", W/{etag}', "*"):
        again = await local_api.http.get(path, headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    changed = await local_api.http.get(path, headers={"If-None-Match": '"x"'})
    assert (changed.status_code, changed.content) == (200, png())


async def test_upload_over_the_limit_is_refused_and_not_stored(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_routes, "MAX_UPLOAD_BYTES", 1000)

    async def undeclared() -> Any:
        yield png()
        yield bytes(1000)

    for content in (png() + bytes(1000), undeclared()):
        response = await api.http.post("/media", content=content)
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert await api.ids() == []


@pytest.mark.parametrize(("size", "status"), [(95 * 1024 * 1024, 422), (95 * 1024 * 1024 + 1, 413)])
async def test_upload_limit_is_below_that_of_the_functions_host(
    local_api: Api, size: int, status: int
) -> None:
    # Above 100 MiB the host answers 500 itself. The body is no picture, so the smaller one is 422.
    declared = {"Content-Length": str(size)}
    response = await local_api.http.post("/media", content=b"hello", headers=declared)
    assert response.status_code == status


async def test_deleted_medium_is_gone_with_its_bytes(api: Api) -> None:
    job = await api.call("generate_video", prompt="A hill", seconds=1)
    media_id = await upload(api)
    [media] = (await api.http.get("/media")).json()["media"]
    response = await api.http.delete(f"/media/{media_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert (await api.http.get(f"/media/{media_id}")).status_code == 404
    assert (await api.http.delete(f"/media/{media_id}")).status_code == 404
    assert (await api.open(media["url"])).status_code == 404
    assert await api.ids() == []
    assert (await api.http.get(f"/videos/{job['id']}")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("media_id", ["x", "0" * 44, "..%2f..%2fsecret", "%00", "a" * 5000])
async def test_unknown_medium_is_not_found(local_api: Api, method: str, media_id: str) -> None:
    response = await local_api.http.request(method, f"/media/{media_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_nobody_sees_what_is_not_theirs(
    make_client: MakeClient, stored_environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    settings = stored_environment | {"API_KEYS": json.dumps({"other": digest("other-key")})}
    client = make_client(settings)
    api = Api(client, browser)
    media_id = await upload(api)
    job = await api.call("generate_video", prompt="A hill")
    client.headers = httpx2.Headers({"Authorization": "Bearer other-key"})
    assert await api.ids() == []
    unknown = await client.get(f"/media/{'0' * 44}")
    for method, path in (
        ("GET", f"/media/{media_id}"),
        ("GET", f"/media/{media_id}/info"),
        ("DELETE", f"/media/{media_id}"),
        ("GET", f"/videos/{job['id']}"),
    ):
        response = await client.request(method, path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        shown = response.json()["detail"].replace(media_id, "ID").replace(job["id"], "ID")
        assert shown.split(" '")[0] in unknown.json()["detail"] or "video job" in shown
    for tool, arguments in (
        ("edit_image", {"prompt": "x", "images": [media_id]}),
        ("transcribe_audio", {"media_id": media_id}),
        ("generate_video", {"prompt": "x", "image": media_id}),
    ):
        assert (await api.refuse(tool, **arguments))[0] == 422
    assert (await api.refuse("get_video", job_id=job["id"]))[0] == 404
    client.headers = httpx2.Headers(AUTH)
    assert await api.ids() == [media_id]


async def test_chat_returns_the_link_of_a_picture(api: Api) -> None:
    response = await api.http.post(
        "/chat", json={"message": "Draw a picture of a hill", "tools": ["generate_image"]}
    )
    answer = response.json()
    [call] = answer["tool_calls"]
    assert (call["name"], call["is_error"]) == ("generate_image", False)
    url = call["result"]["media"][0]["url"]
    assert url in answer["answer"]
    assert (await api.open(url)).content.startswith(b"\x89PNG")


async def test_model_is_told_of_media_in_text(api: Api, stand_in: StandIn) -> None:
    message = {"message": "Draw a picture of a hill", "tools": ["generate_image"]}
    answer = (await api.http.post("/chat", json=message)).json()
    *_, told = [body for body in stand_in.bodies() if "messages" in body][-1]["messages"]
    assert told["role"] == "tool"
    assert json.loads(told["content"]) == answer["tool_calls"][0]["result"]


async def test_neither_prompts_nor_links_nor_keys_are_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    result = await api.call("generate_image", prompt="A very secret hill")
    await api.open(result["media"][0]["url"])
    signature = parse_qs(urlsplit(result["media"][0]["url"]).query)
    assert "secret hill" not in caplog.text
    assert KEY not in caplog.text
    for name in ("signature", "sig"):
        for value in signature.get(name, []):
            assert value not in caplog.text


async def test_media_without_storage_are_not_configured_and_not_paid_for(
    make_client: MakeClient, stand_in: StandIn
) -> None:
    client = make_client(
        {
            "WEBSITE_SITE_NAME": "app",
            "MCP_API_KEY": KEY,
            "AZURE_OPENAI_ENDPOINT": "https://name.openai.azure.com",
            "AZURE_OPENAI_API_KEY": "k",
            "AZURE_OPENAI_VIDEO_DEPLOYMENT": "v",
        }
    )
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/tools/generate_image", {"prompt": "x"}),
        ("POST", "/tools/synthesize_speech", {"text": "x"}),
        ("POST", "/tools/generate_video", {"prompt": "x"}),
        ("GET", "/media", None),
        ("GET", f"/media/{'0' * 44}", None),
        ("GET", f"/videos/{'0' * 44}", None),
    ]
    for method, path, body in calls:
        response = await client.request(method, path, json=body)
        assert (response.status_code, response.json()["code"]) == (503, "not_configured"), path
        assert "AZURE_STORAGE_ACCOUNT_URL" in response.json()["detail"]


@pytest.mark.parametrize(
    "body", ["hello world".encode("utf-16"), b"\xff\xff\xff\xff", b"\xff\xe0", b"hello"]
)
async def test_text_is_no_clip(local_api: Api, body: bytes) -> None:
    response = await local_api.http.post("/media", content=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "known format" in response.json()["detail"]


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@pytest.mark.parametrize(
    ("body", "declared", "content_type", "served"),
    [
        (PDF, "application/octet-stream", "application/pdf", "application/pdf"),
        ("# Gr\u00fc\u00dfe\n".encode(), "text/markdown; charset=utf-8", "text/plain", None),
        (b'{"a": 1}', "application/json", "text/plain", None),
        (b"<!doctype html><script>1</script>", "text/html", "text/plain", None),
    ],
)
async def test_documents_are_stored_and_texts_are_served_as_plain_text(
    api: Api, body: bytes, declared: str, content_type: str, served: str | None
) -> None:
    response = await api.http.post(
        "/media", content=body, params={"name": "notes"}, headers={"Content-Type": declared}
    )
    assert response.status_code == 201, response.text
    stored = response.json()
    assert stored["content_type"] == content_type
    assert await api.ids(kind="file") == [stored["id"]]
    shown = await api.open(stored["url"])
    assert shown.content == body
    assert shown.headers["content-type"] == (served or "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "body", [b"\x00\x01", b"\xff\xfe", b"a\x00b", "hell\u00f6".encode("latin-1")]
)
async def test_what_is_only_called_text_is_refused(local_api: Api, body: bytes) -> None:
    response = await local_api.http.post(
        "/media", content=body, headers={"Content-Type": "text/plain"}
    )
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_search_for_one_kind_looks_at_a_bounded_number_of_others(
    local_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_index, "MAX_LISTINGS", 3)
    stored = [await local_api.http.post("/media", content=WAV)]
    stored += [await local_api.http.post("/media", content=png()) for _ in range(5)]
    query: dict[str, Any] = {"kind": "audio", "limit": 1}
    first = (await local_api.http.get("/media", params=query)).json()
    assert first["media"] == []
    second = (await local_api.http.get("/media", params={**query, **first})).json()
    assert [each["id"] for each in second["media"]] == [stored[0].json()["id"]]
