"""Media in Blob Storage that callers cannot reach: the app streams them itself."""

from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import pytest

from shared.app import create_app
from shared.routes import downloads
from shared.settings import load_settings
from tests.conftest import AUTH, MakeClient, ThreadServer
from tests.media.conftest import Api, kept_for
from tests.media.support import png
from tests.waiting import until

LARGE = png() + bytes(range(256)) * 40_000
"""Several blocks of Blob Storage."""

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture
def proxied_environment(environment: dict[str, str], azurite: str) -> dict[str, str]:
    run = uuid4().hex
    return environment | {
        "LOCAL_STORAGE_PATH": "",
        "AZURE_STORAGE_CONNECTION_STRING": azurite,
        "AZURE_BLOB_CONTAINER": f"media-{run}",
        "AZURE_BLOB_STATE_CONTAINER": f"state-{run}",
        "MEDIA_PROXY_DOWNLOADS": "true",
    }


@pytest.fixture
def api(
    make_client: MakeClient, proxied_environment: dict[str, str], browser: httpx2.AsyncClient
) -> Api:
    return Api(make_client(proxied_environment), browser)


async def uploaded(api: Api, content: bytes) -> tuple[str, str]:
    """Stores a medium and returns its id and its link."""
    response = await api.http.post("/media", content=content)
    assert response.status_code == 201, response.text
    return response.json()["id"], response.json()["url"]


async def test_link_leads_to_the_app_and_opens_on_any_instance(
    make_client: MakeClient,
    proxied_environment: dict[str, str],
    browser: httpx2.AsyncClient,
    api: Api,
) -> None:
    _, link = await uploaded(api, LARGE)
    assert link.startswith("http://localhost:7071/m/")
    for instance in (api, Api(make_client(proxied_environment), browser)):
        answer = await instance.open(link)
        assert (answer.status_code, answer.content == LARGE) == (200, True)
        assert answer.headers["content-type"] == "image/png"
        assert 0 < kept_for(answer) <= 3600
        assert answer.headers["content-length"] == str(len(LARGE))


async def test_links_of_tools_open_too(api: Api) -> None:
    drawn = await api.call("generate_image", prompt="A hill")
    assert (await api.open(drawn["media"][0]["url"])).content.startswith(b"\x89PNG")


async def test_medium_is_streamed_to_its_owner_without_a_redirect(api: Api) -> None:
    media_id, _ = await uploaded(api, LARGE)
    answer = await api.http.get(f"/media/{media_id}")
    assert (answer.status_code, answer.content == LARGE) == (200, True)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=1-3", 1, 3),
        ("bytes=5000000-5999999", 5_000_000, 5_999_999),
        ("bytes=9000000-", 9_000_000, len(LARGE) - 1),
        ("bytes=-100", len(LARGE) - 100, len(LARGE) - 1),
        (f"bytes=10-{len(LARGE) * 2}", 10, len(LARGE) - 1),
    ],
)
async def test_range_is_served(api: Api, asked: str, first: int, last: int) -> None:
    _, link = await uploaded(api, LARGE)
    path = link.removeprefix("http://localhost:7071")
    answer = await api.http.get(path, headers={"Range": asked, "Authorization": ""})
    assert (answer.status_code, answer.content == LARGE[first : last + 1]) == (206, True)
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(LARGE)}"
    # A download that goes on later asks for the same representation.
    again = {"Range": asked, "If-Range": answer.headers["etag"]}
    assert (await api.http.get(path, headers=again)).status_code == 206
    assert (await api.http.get(path, headers={**again, "If-Range": '"x"'})).status_code == 200


@pytest.mark.parametrize(
    "asked", ["bytes=3-1", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=-0"]
)
async def test_range_that_nobody_understands_gets_everything(api: Api, asked: str) -> None:
    media_id, _ = await uploaded(api, png())
    answer = await api.http.get(f"/media/{media_id}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, png())


async def test_range_beyond_the_end_is_refused_with_the_size(api: Api) -> None:
    media_id, _ = await uploaded(api, png())
    answer = await api.http.get(f"/media/{media_id}", headers={"Range": f"bytes={len(png())}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(png())}"
    assert answer.json()["code"] == "invalid_request"


async def test_head_tells_the_size_without_the_bytes(api: Api) -> None:
    media_id, _ = await uploaded(api, LARGE)
    answer = await api.http.head(f"/media/{media_id}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(LARGE))


async def test_drawing_may_not_run_anything(api: Api) -> None:
    _, link = await uploaded(api, SVG)
    answer = await api.open(link)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_link_that_the_app_did_not_sign_is_refused(api: Api) -> None:
    media_id, link = await uploaded(api, png())
    query = {"object": "../state/media-links/key", "expires": "1", "signature": "0" * 64}
    long_link = f"http://localhost:7071/media/{media_id}?{urlencode(query)}"
    for changed in (link[:-1] + ("a" if link[-1] != "a" else "b"), long_link):
        assert (await api.open(changed)).status_code == 401


async def test_medium_that_a_browser_has_is_not_sent_again(api: Api) -> None:
    media_id, link = await uploaded(api, png())
    etag = (await api.open(link)).headers["etag"]
    headers = {"If-None-Match": etag}
    again = await api.http.get(f"/media/{media_id}", headers=headers)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


async def test_more_downloads_than_fit_are_told_to_wait(
    proxied_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_DOWNLOADS", 1)
    content = png() + bytes(80_000_000)
    with ThreadServer(create_app(load_settings(proxied_environment))) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as http:
            media_id = (await http.post("/media", content=content)).json()["id"]
            async with http.stream("GET", f"/media/{media_id}") as slow:
                assert slow.status_code == 200
                refused = await http.get(f"/media/{media_id}")
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_downloads")
            assert refused.headers["retry-after"] == "5"
            # The place of who has left is free again.
            await until(
                lambda: http.get(f"/media/{media_id}", headers={"Range": "bytes=0-9"}),
                lambda answer: answer.status_code == 206,
            )


async def test_link_to_a_deleted_medium_leads_nowhere(api: Api) -> None:
    media_id, link = await uploaded(api, png())
    assert (await api.http.delete(f"/media/{media_id}")).status_code == 204
    answer = await api.open(link)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_proxy_and_public_address_of_the_storage_exclude_each_other(
    make_client: MakeClient, proxied_environment: dict[str, str]
) -> None:
    settings = proxied_environment | {"AZURE_BLOB_PUBLIC_BASE_URL": "https://cdn.example/media"}
    (problem,) = (await make_client(settings).get("/health")).json()["problems"]
    assert "The setting MEDIA_PROXY_DOWNLOADS and AZURE_BLOB_PUBLIC_BASE_URL exclude" in problem
