"""Links to objects, opened as a browser opens them, and refused when they are not ours."""

import asyncio
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
from pytest_mock import MockerFixture

from shared.storage import ContentHeaders, FolderRoot, FolderStore, LinkSigner
from shared.storage.blob import BlobAccount, BlobStore
from shared.storage.links import KEY_OBJECT
from shared.storage.shared_keys import SharedKey, key_of_file
from tests.storage.azurite import OAuthAzurite, TestCredential

HEADERS = ContentHeaders("image/png", "private, max-age=60", 'inline; filename="a.png"')


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)


async def check(store: BlobStore, verify: ssl.SSLContext | bool) -> str:
    """Opens links to an object of the store and returns one of them."""
    await store.create("folder/a.png", b"png", HEADERS)
    link = await store.link("folder/a.png", soon())
    expired = await store.link("folder/a.png", datetime.now(UTC) - timedelta(minutes=1))
    async with httpx2.AsyncClient(verify=verify, timeout=60) as browser:
        answer = await browser.get(link)
        assert (answer.status_code, answer.content) == (200, b"png")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "private, max-age=60"
        assert answer.headers["content-disposition"] == 'inline; filename="a.png"'
        for refused in (
            expired,
            link.replace("a.png", "b.png"),
            link.split("?")[0],
            link.replace("sp=r", "sp=rw"),
        ):
            assert (await browser.get(refused)).status_code in (403, 404, 409)
        assert (await browser.delete(link)).status_code == 403
    return link


async def test_link_by_account_key_opens(azurite: str) -> None:
    account = BlobAccount.from_connection_string(azurite)
    link = await check(BlobStore(account, f"objects-{uuid4().hex}"), verify=True)
    assert "spr=" not in link
    await account.aclose()


async def test_link_by_account_key_allows_https_only_where_the_account_has_it() -> None:
    account = BlobAccount.from_connection_string("AccountName=name;AccountKey=a2V5")
    link = await BlobStore(account, "objects").link("a.png", soon())
    assert link.startswith("https://name.blob.core.windows.net/objects/a.png?")
    assert parse_qs(urlsplit(link).query)["spr"] == ["https"]
    await account.aclose()


async def test_link_by_user_delegation_opens_and_its_key_is_reused(
    azurite_with_oauth: OAuthAzurite, mocker: MockerFixture
) -> None:
    account = BlobAccount.from_identity(
        azurite_with_oauth.url,
        TestCredential(),
        connection_verify=str(azurite_with_oauth.certificate),
    )
    asked = 0
    get_key = account.service.get_user_delegation_key

    async def count(*arguments: object, **options: object) -> object:
        nonlocal asked
        asked += 1
        return await get_key(*arguments, **options)  # type: ignore[arg-type]

    mocker.patch.object(account.service, "get_user_delegation_key", count)
    store = BlobStore(account, f"objects-{uuid4().hex}")
    link = await check(store, verify=azurite_with_oauth.trusting)
    query = parse_qs(urlsplit(link).query)
    assert query["skoid"]
    assert query["spr"] == ["https"]
    await asyncio.gather(*(store.link("folder/a.png", soon()) for _ in range(10)))
    assert asked == 1
    await store.link("folder/a.png", datetime.now(UTC) + timedelta(days=2))
    assert asked == 2
    await account.aclose()


async def test_link_of_the_app_holds_until_it_expires(tmp_path: Path) -> None:
    signer = LinkSigner(key_of_file(tmp_path / "link.key"), "http://localhost:7071")
    link = await signer.sign("images/a.png", soon())
    query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert urlsplit(link).path == "/media/a"
    assert await signer.refusal(query["object"], query["expires"], query["signature"]) is None
    later = str(int(query["expires"]) + 1)
    for name, expires, signature in (
        ("images/b.png", query["expires"], query["signature"]),
        (query["object"], later, query["signature"]),
        (query["object"], query["expires"], query["signature"][::-1]),
        (query["object"], "soon", query["signature"]),
        (query["object"], query["expires"], "ü"),
        (query["object"], "9" * 5000, query["signature"]),
    ):
        assert "signature is invalid" in str(await signer.refusal(name, expires, signature))
    old = await signer.sign("images/a.png", datetime.now(UTC) - timedelta(seconds=1))
    query = {name: values[0] for name, values in parse_qs(urlsplit(old).query).items()}
    refusal = await signer.refusal(query["object"], query["expires"], query["signature"])
    assert "has expired" in str(refusal)


async def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from shared.storage.links import LinkSigner;"
        "from shared.storage.shared_keys import key_of_file;"
        "signer = LinkSigner(key_of_file(Path(sys.argv[1])), 'http://h');"
        "print(asyncio.run(signer.sign('a/b.png', datetime.max)))"
    )

    async def sign() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(tmp_path / "link.key"), stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    links = await asyncio.gather(*(sign() for _ in range(4)))
    assert len(set(links)) == 1
    assert links[0].startswith(b"http://h/media/b?")
    assert (tmp_path / "link.key").stat().st_mode & 0o077 == 0


async def test_folder_without_a_server_links_to_its_files(tmp_path: Path) -> None:
    store = FolderStore(FolderRoot(tmp_path), "media", None)
    await store.create("images/a.png", b"png")
    link = await store.link("images/a.png", soon())
    assert link == (tmp_path / "media/images/a.png").as_uri()
    async with store.open("images/a.png") as stream:
        assert [chunk async for chunk in stream.chunks] == [b"png"]


async def test_instances_that_start_together_share_one_key_of_the_state_container(
    azurite: str,
) -> None:
    container = f"state-{uuid4().hex}"
    accounts = [BlobAccount.from_connection_string(azurite) for _ in range(4)]
    expires_at = soon()

    async def sign(account: BlobAccount) -> str:
        key = SharedKey(BlobStore(account, container), KEY_OBJECT)
        return await LinkSigner(key.load, "http://h").sign("a/b.png", expires_at)

    links = await asyncio.gather(*map(sign, accounts))
    assert len(set(links)) == 1
    for account in accounts:
        await account.aclose()
