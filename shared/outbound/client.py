"""Opens clients; the HTTP library is imported by the first one."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shared.errors import ForbiddenAddress

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
EVENT_STREAM = "text/event-stream"


def open_client(
    *,
    allow_private: bool,
    connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
    read_timeout: float | None = READ_TIMEOUT_SECONDS,
    headers: Mapping[str, str] | None = None,
    auth: "httpx2.Auth | None" = None,
    max_body_bytes: int | None = None,
    limits_events: bool = False,
    wrap: "Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None" = None,
) -> "httpx2.AsyncClient":
    """Makes a client that reaches public https addresses only; nothing is sent yet.

    Its requests raise `ForbiddenAddress` besides what `httpx2` raises. The first call in a process takes
    about 80 ms, for imports and certificates: make it in a thread.

    Args:
        allow_private: Whether http, and loopback, private and carrier networks are allowed too.
        connect_timeout: Seconds for resolving, connecting and the TLS handshake.
        read_timeout: Seconds that may pass between two pieces of an answer, or until one of the client's
            connections is free; None for any.
        headers: Sent with every request, to whatever origin.
        auth: Signs every request, to whatever origin.
        max_body_bytes: How long an answer may be. The client then asks for answers that are not
            compressed, and takes no others: what counts is what comes out. None for any length.
        limits_events: Whether ``wrap`` limits each event of a stream: event streams then may be of any
            length, since they live as long as they like.
        wrap: Puts a transport of the caller's around the guarded one.
    """
    import httpx2

    from shared.outbound.transport import GuardedTransport

    guarded = GuardedTransport(
        allow_private=allow_private,
        max_body_bytes=max_body_bytes,
        unlimited_type=EVENT_STREAM if limits_events else None,
    )
    plain = {} if max_body_bytes is None else {"Accept-Encoding": "identity"}
    return httpx2.AsyncClient(
        transport=wrap(guarded) if wrap else guarded,
        timeout=httpx2.Timeout(read_timeout, connect=connect_timeout),
        headers={**plain, **(headers or {})},
        auth=auth,
        trust_env=False,
        follow_redirects=False,
    )


def check_url(url: str, *, allow_private: bool) -> None:
    """Makes sure that a URL is one that may be called, as far as that shows without resolving it.

    A client checks the same and more with every request; this is for telling a caller early.

    Raises:
        ForbiddenAddress: It may not be called.
    """
    import httpx2

    from shared.outbound.transport import check_parsed_url

    try:
        parsed = httpx2.URL(url)
        _ = urlsplit(url).port  # Other code reads URLs with `urllib`, which refuses more.
    except (httpx2.InvalidURL, ValueError) as error:
        raise ForbiddenAddress("The URL is malformed.") from error
    check_parsed_url(parsed, allow_private=allow_private)
