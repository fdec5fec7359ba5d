"""The origin of links to media, for the Content-Security-Policy of the page."""

from urllib.parse import urlsplit

from shared.settings import Settings

_DEVELOPMENT_ORIGIN = "http://127.0.0.1:10000"
"""Where Azurite listens."""


def media_origin(settings: Settings) -> str | None:
    """Returns the origin of links to media; None where they lead to the app itself.

    Args:
        settings: The settings of the storage.
    """
    storage = settings.storage
    if storage.proxy_downloads:
        return None
    if storage.public_base_url:
        return _origin(storage.public_base_url)
    if storage.connection_string:
        return _endpoint(storage.connection_string.get_secret_value())
    return _origin(storage.account_url) if storage.account_url else None


def _endpoint(connection_string: str) -> str:
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";") if part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        return _DEVELOPMENT_ORIGIN
    if endpoint := parts.get("BlobEndpoint"):
        return _origin(endpoint)
    suffix = parts.get("EndpointSuffix", "core.windows.net")
    scheme = parts.get("DefaultEndpointsProtocol", "https")
    return f"{scheme}://{parts['AccountName']}.blob.{suffix}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
