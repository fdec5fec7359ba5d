"""Which addresses may be dialled, and when two URLs name the same place.

The lists follow the IANA registries of special-purpose addresses; `ipaddress` is asked as well, but not
alone: its idea of global changes between Python versions, and includes Azure's 168.63.129.16.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

IPAddress = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ip_network(text) for text in texts)


_NEVER = {
    "a link-local address": _networks("169.254.0.0/16", "fe80::/10"),
    "an address of the cloud's own services": _networks(
        "168.63.129.16/32",  # Azure: DNS, DHCP, health probes, the guest agent.
        "100.100.100.200/32",  # Alibaba Cloud.
        "192.0.0.192/32",  # Oracle Cloud.
        "fd00:ec2::/32",  # AWS.
        "fd20:ce::254/128",  # Google Cloud.
    ),
    "an unspecified address": _networks("0.0.0.0/8", "::/128"),
    "a multicast address": _networks("224.0.0.0/4", "ff00::/8"),
}
_PRIVATE = {
    "a loopback address": _networks("127.0.0.0/8", "::1/128"),
    "a private address": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "a carrier's shared address": _networks("100.64.0.0/10"),
}
_RESERVED = _networks(
    "192.0.0.0/24",  # IETF protocols.
    "192.0.2.0/24",  # Documentation, as 198.51.100.0/24 and 203.0.113.0/24 are.
    "192.31.196.0/24",  # AS112.
    "192.52.193.0/24",  # Automatic multicast tunnelling.
    "192.88.99.0/24",  # Relays of 6to4.
    "192.175.48.0/24",  # AS112.
    "198.18.0.0/15",  # Benchmarks.
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",  # Reserved, and broadcast.
    "2001::/23",  # IETF protocols, with Teredo's embedded IPv4 addresses.
    "2001:db8::/32",  # Documentation.
    "2002::/16",  # 6to4, with embedded IPv4 addresses.
    "2620:4f:8000::/48",  # AS112.
    "3fff::/20",  # Documentation.
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def forbidden_kind(address: IPAddress, *, allow_private: bool) -> str | None:
    """Returns what is wrong with an address, such as "a loopback address"; None if it may be dialled.

    Args:
        address: The address.
        allow_private: Whether loopback, private and carrier networks are allowed.
    """
    address = _without_wrapping(address)
    if kind := _kind(address, _NEVER):
        return kind
    if kind := _kind(address, _PRIVATE):
        return None if allow_private else kind
    is_unicast = isinstance(address, IPv4Address) or address in _GLOBAL_IPV6
    if not is_unicast or _is_in(address, _RESERVED) or not address.is_global:
        return "a reserved address"
    return None


def parse_address(text: str) -> IPAddress:
    """Returns the address that the resolver wrote, without the zone that link-local ones carry.

    Raises:
        ValueError: It is none.
    """
    return ip_address(text.partition("%")[0])


def forbidden_host(host: str, *, allow_private: bool) -> str | None:
    """Returns what is wrong with a host, as far as that shows without resolving it; None for nothing.

    Args:
        host: A name, or an address in any form that resolvers take, such as ``127.1``.
        allow_private: Whether loopback, private and carrier networks are allowed.
    """
    address = _address_of(host)
    return None if address is None else forbidden_kind(address, allow_private=allow_private)


def endpoint(url: str) -> tuple[str, int]:
    """Returns host and port of a URL, equal for all spellings of one place.

    Names of this machine's own loopback are one host, and the default ports of http and https one port.

    Args:
        url: A URL that has a host.
    """
    parts = urlsplit(url)
    host = _plain_host(parts.hostname or "")
    address = _address_of(host)
    if address is not None:
        unwrapped = _without_wrapping(address)
        host = "localhost" if unwrapped.is_loopback else str(unwrapped)
    return host, 443 if parts.port in (None, 80, 443) else parts.port


def _plain_host(host: str) -> str:
    """Returns a host's name in lower case and ASCII, without the root's dot at its end."""
    for dot in "\u3002\uff0e\uff61":
        host = host.replace(dot, ".")
    if not host.isascii():
        # What cannot be encoded is a name that does not exist.
        with suppress(UnicodeError):
            host = host.encode("idna").decode()
    return host.lower().rstrip(".")


def _address_of(host: str) -> IPAddress | None:
    """Returns the address that a host's text is; None for a name, which has to be resolved."""
    host = _plain_host(host)
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return parse_address(host)
    except ValueError:
        pass
    try:
        # The older forms of IPv4, with fewer parts, octal or hexadecimal.
        return IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except (OSError, UnicodeError):
        return None


def _without_wrapping(address: IPAddress) -> IPAddress:
    """Returns the IPv4 address that packets to an IPv6 address really go to.

    Other forms that embed one (IPv4-compatible, 6to4, Teredo, local NAT64) are obsolete or have no place
    on the internet: they are refused as reserved, whatever they embed.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _kind(address: IPAddress, kinds: dict[str, tuple[_Network, ...]]) -> str | None:
    return next((kind for kind, networks in kinds.items() if _is_in(address, networks)), None)


def _is_in(address: IPAddress, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
