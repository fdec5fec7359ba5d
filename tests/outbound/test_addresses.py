"""Forbidden addresses in every form: refused before a byte is sent, watched at sockets."""

import threading
from typing import Any

import httpcore2
import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.addresses import forbidden_kind, parse_address
from shared.errors import ForbiddenAddress
from shared.outbound import check_url, open_client
from shared.outbound.network import GuardedBackend
from shared.outbound.streams import AsyncioBackend
from tests.conftest import ThreadServer
from tests.outbound.conftest import Listener, Names

LOOPBACK_FORMS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
]

REFUSAL = (
    "The host '{host}' has no address that may be reached from here. The name may be wrong. "
    "If it is right and the host is your own, for local work the operator can set "
    "CONNECTIONS_ALLOW_PRIVATE_NETWORKS to true."
)
FORBIDDEN = {
    "a loopback address": ["127.0.0.1", "127.8.8.8", "::1"],
    "a private address": [
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "fc00::1",
        "fd12:3456:789a::1",
    ],
    "a carrier's shared address": ["100.64.0.1", "100.127.255.254"],
    "an unspecified address": ["0.0.0.0", "0.1.2.3", "::"],
    "a link-local address": [
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
    ],
    "an address of the cloud's own services": [
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
    "a multicast address": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "a reserved address": [
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.255",
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "fec0::1",
        "5f00::1",
        "4000::1",
    ],
}

EMBEDDING = [
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a83f:8110",
    "::127.0.0.1",
    "::10.0.0.1",
    "::8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::168.63.129.16",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001::1",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "168.63.129.15",
    "20.42.73.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:831::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]

NEVER = [
    "169.254.169.254",
    "168.63.129.16",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "100.100.100.200",
    "224.0.0.1",
    "240.0.0.1",
    "2002:7f00:1::",
    "0.0.0.0",
]


@pytest.mark.parametrize("host", LOOPBACK_FORMS)
async def test_loopback_in_any_form_is_refused_before_connecting(
    listener: Listener, dialled: list[Any], host: str
) -> None:
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress, match="may be reached"):
            await client.get(f"https://{host}:{listener.port}/")
    assert (listener.was_reached, dialled) == (False, [])


async def test_ipv6_loopback_is_refused_before_connecting(
    listener6: Listener, dialled: list[Any]
) -> None:
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress, match="may be reached"):
            await client.get(f"https://[::1]:{listener6.port}/")
    assert (listener6.was_reached, dialled) == (False, [])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1"])
async def test_the_listener_would_notice_a_connection(listener: Listener, host: str) -> None:
    async with open_client(allow_private=True, read_timeout=0.05) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(f"http://{host}:{listener.port}/")
    assert listener.was_reached


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind in FORBIDDEN for address in FORBIDDEN[kind]]
)
async def test_name_with_a_forbidden_address_is_refused_and_why_is_for_the_operator_alone(
    names: Names,
    dialled: list[Any],
    kind: str,
    address: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    names.define("innocent.example", [address])
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress) as raised:
            await client.get("https://innocent.example/")
    assert (raised.value.detail, dialled) == (REFUSAL.format(host="innocent.example"), [])
    assert kind in caplog.text
    assert address not in caplog.text


@pytest.mark.parametrize("address", EMBEDDING)
async def test_name_with_an_ipv4_address_in_disguise_is_refused(
    names: Names, dialled: list[Any], address: str
) -> None:
    names.define("innocent.example", [address])
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress, match="may be reached"):
            await client.get("https://innocent.example/")
    assert dialled == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert forbidden_kind(parse_address(address), allow_private=False) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "fd12::1", "100.64.0.1"])
def test_private_address_is_allowed_where_that_is_wanted(address: str) -> None:
    assert forbidden_kind(parse_address(address), allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
async def test_metadata_services_and_odd_addresses_are_refused_even_then(
    names: Names, dialled: list[Any], address: str
) -> None:
    names.define("innocent.example", [address])
    async with open_client(allow_private=True) as client:
        with pytest.raises(ForbiddenAddress):
            await client.get("http://innocent.example/")
    assert dialled == []


@pytest.mark.parametrize(
    "answer", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["2606:4700::1", "10.0.0.1"]]
)
async def test_one_forbidden_address_among_public_ones_forbids_the_name(
    names: Names, dialled: list[Any], answer: list[str]
) -> None:
    names.define("mixed.example", answer)
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress):
            await client.get("https://mixed.example/")
    assert dialled == []


async def test_answer_that_changes_after_the_check_does_not_matter(
    names: Names, listener: Listener
) -> None:
    async with Elsewhere() as elsewhere:
        names.define("rebinding.example", ["127.0.0.2"], ["127.0.0.1"])
        url = f"http://rebinding.example:{elsewhere.port}/"
        async with open_client(allow_private=True, read_timeout=0.05) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(url)
        assert elsewhere.was_reached
    assert names.asked == ["rebinding.example"]


class Elsewhere(Listener):
    """A listener at the second loopback address."""

    def __init__(self) -> None:
        super().__init__("127.0.0.2")

    async def __aenter__(self) -> "Elsewhere":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()


async def test_public_answer_is_dialled_by_its_address_and_never_asked_for_again(
    names: Names, listener: Listener, mocker: MockerFixture
) -> None:
    hosts = []

    async def unreachable(self: object, host: str, *_: object) -> None:
        hosts.append(host)
        raise httpcore2.ConnectError

    mocker.patch.object(AsyncioBackend, "connect_tcp", unreachable)
    names.define("rebinding.example", ["8.8.8.8", "1.1.1.1"], ["127.0.0.1"])
    async with open_client(allow_private=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"https://rebinding.example:{listener.port}/")
        assert hosts == ["8.8.8.8", "1.1.1.1"]
        with pytest.raises(ForbiddenAddress):
            await client.get(f"https://rebinding.example:{listener.port}/")
    assert len(hosts) == 2
    assert not listener.was_reached


async def test_next_address_is_tried_when_one_does_not_answer(names: Names) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    names.define("two.example", ["127.0.0.3", "::1", "127.0.0.1"])
    with ThreadServer(app) as server:
        port = server.origin.rpartition(":")[2]
        async with open_client(allow_private=True) as client:
            response = await client.get(f"http://two.example:{port}/")
    assert response.status_code == 204


async def test_only_a_few_of_many_addresses_are_tried(
    names: Names, dialled: list[Any], unused_port: int
) -> None:
    names.define("many.example", [f"127.0.1.{number}" for number in range(200)])
    async with open_client(allow_private=True) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://many.example:{unused_port}/")
    assert len(dialled) == 6


async def test_resolver_that_never_answers_runs_into_the_timeout(
    names: Names, mocker: MockerFixture
) -> None:
    gate = threading.Event()
    mocker.patch("socket.getaddrinfo", side_effect=lambda *_, **__: gate.wait())
    async with open_client(allow_private=False, connect_timeout=0.05) as client:
        with pytest.raises(httpx2.ConnectTimeout):
            await client.get("https://slow.example/")
    gate.set()


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a..b", "x" * 64 + ".example"])
async def test_name_that_does_not_resolve_is_refused_as_a_private_one_is(host: str) -> None:
    async with open_client(allow_private=False) as client:
        with pytest.raises((ForbiddenAddress, httpx2.InvalidURL)) as raised:
            await client.get(f"https://{host}/")
    if isinstance(raised.value, ForbiddenAddress):
        assert raised.value.detail == REFUSAL.format(host=host)


async def test_name_that_does_not_resolve_is_no_connection_where_private_ones_are_allowed() -> None:
    async with open_client(allow_private=True) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("https://does-not-exist.invalid/")


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/",
        "ftp://{host}/",
        "ws://{host}/",
        "wss://{host}/",
        "file:///etc/passwd",
        "unix:///var/run/docker.sock",
        "gopher://{host}/",
        "https://user@{host}/",
        "https://user:password@{host}/",
        "https://public.example@{host}/",
        "https:///path",
        "//{host}/",
    ],
)
async def test_url_of_another_kind_is_refused_before_resolving(
    listener: Listener, names: Names, dialled: list[Any], url: str
) -> None:
    url = url.format(host=f"127.0.0.1:{listener.port}")
    async with open_client(allow_private=False) as client:
        with pytest.raises((ForbiddenAddress, httpx2.UnsupportedProtocol)):
            await client.get(url)
    with pytest.raises(ForbiddenAddress, match="URL must"):
        check_url(url, allow_private=False)
    assert (listener.was_reached, names.asked, dialled) == (False, [], [])


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "https://0177.0.0.1/",
        "https://a:65536/",
        "https://a:0/",
        "https://a[b]/",
        "https://a: 443/",
        "\0",
    ],
)
def test_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_url(url, allow_private=True)


def test_proper_url_passes_the_early_check() -> None:
    check_url("https://mcp.example/mcp?x=1", allow_private=False)
    check_url("http://localhost:3000/mcp", allow_private=True)


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine innocent.example login a password b")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress):
            await client.get("https://innocent.invalid/")
        request = client.build_request("GET", "https://innocent.example/")
    assert not listener.was_reached
    assert "authorization" not in request.headers


async def test_unix_sockets_are_out_of_reach() -> None:
    with pytest.raises(ForbiddenAddress):
        await GuardedBackend(allow_private=True).connect_unix_socket("/var/run/docker.sock")
