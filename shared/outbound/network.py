"""The network under the HTTP client: resolves, checks, and dials what it has checked."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import httpcore2

from shared.addresses import IPAddress, forbidden_kind, parse_address
from shared.errors import ForbiddenAddress
from shared.outbound.streams import AsyncioBackend

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_ADDRESSES = 6
"""How many addresses of one name are tried: a name with hundreds must not make us knock at them all."""

REMEDY = "the operator can set CONNECTIONS_ALLOW_PRIVATE_NETWORKS to true"
"""How http and private addresses are allowed, for local work."""

logger = logging.getLogger(__name__)

# Threads of its own, since nothing can cancel a lookup: names of strangers whose servers never answer
# would else take the threads that the rest of the app needs.
_lookups = ThreadPoolExecutor(8, thread_name_prefix="lookup")


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only.

    Args:
        allow_private: Whether loopback, private and carrier networks are allowed too.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._dialler = AsyncioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolves the name and connects to the first of its addresses that answers.

        Args:
            host: A name, or an address in any form.
            port: The port.
            timeout: Seconds for all of it; None for ten.
            local_address: Where to connect from.
            socket_options: Options of the socket.

        Raises:
            ForbiddenAddress: One of the addresses may not be reached, or the name has none; nothing was
                dialled.
            httpcore2.ConnectError: None of the addresses answers. Where private networks are allowed,
                also: the name has none.
            httpcore2.ConnectTimeout: Time is up.
        """
        ends_at = monotonic() + (CONNECT_TIMEOUT_SECONDS if timeout is None else timeout)
        addresses = await self._allowed_addresses(host, port, ends_at)
        error: Exception = httpcore2.ConnectError("The name has no address.")
        for index, address in enumerate(addresses):
            share = (ends_at - monotonic()) / (len(addresses) - index)
            try:
                return await self._dialler.connect_tcp(
                    str(address), port, max(share, 0), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failure:
                error = failure
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuses.

        Raises:
            ForbiddenAddress: Always.
        """
        raise ForbiddenAddress("Unix sockets may not be reached.")

    async def sleep(self, seconds: float) -> None:
        """Waits between attempts."""
        await asyncio.sleep(seconds)

    async def _allowed_addresses(self, host: str, port: int, ends_at: float) -> list[IPAddress]:
        try:
            async with asyncio.timeout(ends_at - monotonic()):
                addresses = await _resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("The name was not resolved in time.") from error
        except (OSError, ValueError) as error:
            if self._allow_private:
                raise httpcore2.ConnectError("The name cannot be resolved.") from error
            raise self._refusal(host, "no address") from error
        for address in addresses:
            if kind := forbidden_kind(address, allow_private=self._allow_private):
                raise self._refusal(host, kind)
        return addresses[:MAX_ADDRESSES]

    def _refusal(self, host: str, reason: str) -> ForbiddenAddress:
        """Returns the same error whatever the reason, which would tell what exists in our network."""
        logger.info("'%s' was not called: it has %s.", host, reason)
        remedy = f" If it is right and the host is your own, for local work {REMEDY}."
        return ForbiddenAddress(
            f"The host '{host}' has no address that may be reached from here. The name may be wrong."
            + ("" if self._allow_private else remedy)
        )


async def _resolve(host: str, port: int) -> list[IPAddress]:
    """Returns the addresses of a name in the resolver's order, each once."""
    found = await asyncio.get_running_loop().run_in_executor(
        _lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(parse_address(str(address[0])) for *_, address in found))
