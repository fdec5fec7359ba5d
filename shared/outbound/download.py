"""Downloads of files whose address somebody else names."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import ForbiddenAddress, ProviderUnavailable, TooLarge

if TYPE_CHECKING:
    import httpx2

_MAX_LOCATION = 8192
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}


class DownloadFailed(ProviderUnavailable):
    """Raised when a file cannot be had: no connection, a status other than 200, or a part is missing."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file while it is read.

    Attributes:
        content_type: The media type that the server says, in lower case, without parameters; it may lie.
        size: Bytes that the server says; None where it says nothing.
        chunks: The bytes. Reading them can raise `DownloadFailed` and `TooLarge`.
    """

    content_type: str
    size: int | None
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def download(
    client: "httpx2.AsyncClient", url: str, *, max_bytes: int, max_redirects: int = 5
) -> AsyncIterator[Download]:
    """Opens a file for reading, following redirects, each checked like the first address.

    What the client sends by itself (headers, cookies, authentication) goes to the origin of ``url``
    only, and from the first hop to another origin on to nobody. There is no limit of time but the
    client's timeouts: use it under a deadline.

    Args:
        client: From `open_client`.
        url: Where the file is.
        max_bytes: How long it may be.
        max_redirects: How many redirects are followed.

    Raises:
        ForbiddenAddress: The URL, or one that it redirects to, may not be reached.
        DownloadFailed: The file cannot be had.
        TooLarge: It is longer than ``max_bytes``.
    """
    response = await _follow(client, url, max_redirects)
    async with aclosing(response), aclosing(_limited(response, max_bytes)) as chunks:
        size = _declared_size(response)
        if size is not None and size > max_bytes:
            raise _too_large(max_bytes)
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        yield Download(content_type or "application/octet-stream", size, chunks)


async def _follow(client: "httpx2.AsyncClient", url: str, max_redirects: int) -> "httpx2.Response":
    request = _request(client, url)
    is_first_origin = True
    for _ in range(max_redirects + 1):
        with _failures():
            if is_first_origin:
                response = await client.send(request, stream=True, follow_redirects=False)
            else:
                response = await client.send(
                    request, stream=True, follow_redirects=False, auth=None
                )
        if not response.has_redirect_location:
            return await _successful(response)
        await response.aclose()
        target = _target(response)
        is_first_origin = is_first_origin and target.origin == request.url.origin
        request = _request(client, target) if is_first_origin else _bare_request(client, target)
    raise DownloadFailed("The file could not be downloaded: its server redirects too often.")


def _request(client: "httpx2.AsyncClient", url: "httpx2.URL | str") -> "httpx2.Request":
    import httpx2

    try:
        return client.build_request("GET", url, headers=_HEADERS)
    except httpx2.InvalidURL as error:
        raise ForbiddenAddress("The URL is malformed.") from error


def _bare_request(client: "httpx2.AsyncClient", url: "httpx2.URL") -> "httpx2.Request":
    """Returns a request that carries nothing of the client's but its timeouts."""
    import httpx2

    return httpx2.Request(
        "GET", url, headers=_HEADERS, extensions={"timeout": client.timeout.as_dict()}
    )


def _target(response: "httpx2.Response") -> "httpx2.URL":
    import httpx2

    location = response.headers["location"]
    try:
        target = None if len(location) > _MAX_LOCATION else response.request.url.join(location)
    except httpx2.InvalidURL:
        target = None
    if target is None or target.is_relative_url:
        raise ForbiddenAddress("The file's server redirects to something that is no URL of a host.")
    return target


async def _successful(response: "httpx2.Response") -> "httpx2.Response":
    # A compressed file could unfold to any size, and was not asked for.
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if response.status_code == 200 and encoding == "identity":
        return response
    await response.aclose()
    what = f"status {response.status_code}" if response.status_code != 200 else "a compressed file"
    raise DownloadFailed(f"The file could not be downloaded: its server answered with {what}.")


def _declared_size(response: "httpx2.Response") -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


async def _limited(response: "httpx2.Response", max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    with _failures():
        async for chunk in response.aiter_raw():
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            yield chunk


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The file is larger than the {max_bytes} bytes that may be downloaded.")


@contextmanager
def _failures() -> Iterator[None]:
    import httpx2

    try:
        yield
    except httpx2.TimeoutException as error:
        raise DownloadFailed("The file could not be downloaded: its server is too slow.") from error
    except httpx2.ConnectError as error:
        raise DownloadFailed(
            "The file could not be downloaded: its server cannot be reached."
        ) from error
    except httpx2.UnsupportedProtocol as error:
        raise ForbiddenAddress("The file's URL must begin with 'https://'.") from error
    except httpx2.HTTPError as error:
        raise DownloadFailed("The file could not be downloaded: the connection broke.") from error
