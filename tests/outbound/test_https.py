"""Certificates and names over real TLS: dialling an address must not weaken either."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from shared.errors import ForbiddenAddress
from shared.outbound import DownloadFailed, download, open_client
from tests.outbound.conftest import Authority, Names, TlsServer, make_authority

NAME = "files.example"


@pytest.fixture
def server(trusted_authority: Authority, names: Names) -> Iterator[TlsServer]:
    """A server named files.example, whose address is this machine's."""
    names.define(NAME, ["127.0.0.1"])
    with TlsServer(trusted_authority.issue(NAME)).running() as server:
        yield server


async def test_name_is_sent_and_its_certificate_accepted(server: TlsServer) -> None:
    url = f"https://{NAME}:{server.port}/file"
    async with open_client(allow_private=True) as client:
        assert (await client.get(url)).text == "ok"
        async with download(client, url, max_bytes=2) as file:
            assert [chunk async for chunk in file.chunks] == [b"ok"]
    assert set(server.names) == {NAME}
    assert server.requests == [(f"{NAME}:{server.port}", "/file")] * 2


async def test_private_address_is_refused_although_its_certificate_is_right(
    server: TlsServer,
) -> None:
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress):
            await client.get(f"https://{NAME}:{server.port}/")
    assert (server.names, server.requests) == ([], [])


async def test_certificate_of_another_name_is_refused(server: TlsServer, names: Names) -> None:
    names.define("other.example", ["127.0.0.1"])
    async with open_client(allow_private=True) as client:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://other.example:{server.port}/")
        with pytest.raises(DownloadFailed, match="cannot be reached"):
            async with download(client, f"https://other.example:{server.port}/", max_bytes=2):
                pytest.fail("The block must not run.")
    assert server.requests == []


async def test_address_does_not_pass_for_the_name(server: TlsServer) -> None:
    async with open_client(allow_private=True) as client:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://127.0.0.1:{server.port}/")
    assert server.requests == []


async def test_certificate_for_an_address_is_accepted(trusted_authority: Authority) -> None:
    with TlsServer(trusted_authority.issue("127.0.0.1")).running() as server:
        async with open_client(allow_private=True) as client:
            assert (await client.get(f"https://127.0.0.1:{server.port}/")).text == "ok"


async def test_expired_certificate_is_refused(trusted_authority: Authority, names: Names) -> None:
    names.define(NAME, ["127.0.0.1"])
    certificate = trusted_authority.issue(NAME, is_expired=True)
    with TlsServer(certificate).running() as server:
        async with open_client(allow_private=True) as client:
            with pytest.raises(httpx2.ConnectError, match="expired"):
                await client.get(f"https://{NAME}:{server.port}/")
    assert server.requests == []


async def test_certificate_of_an_unknown_authority_is_refused(
    trusted_authority: Authority, names: Names, tmp_path: Path
) -> None:
    names.define(NAME, ["127.0.0.1"])
    with TlsServer(make_authority(tmp_path).issue(NAME)).running() as server:
        async with open_client(allow_private=True) as client:
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"https://{NAME}:{server.port}/")
    assert server.requests == []
