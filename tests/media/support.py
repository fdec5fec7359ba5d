"""What tests of media share."""

import io
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from PIL import Image

from shared.storage.orphans import FIRST_RUN


def png(width: int = 8, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def without_links(document: Any) -> Any:
    """Returns a result without what every presentation of it has anew."""
    if isinstance(document, list):
        return [without_links(item) for item in document]
    if isinstance(document, dict):
        return {
            key: without_links(value)
            for key, value in document.items()
            if key not in ("url", "thumbnail_url", "expires_at", "retry_after")
        }
    return document


WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)


def first_run_of(environment: Mapping[str, str]) -> timedelta:
    """Returns how far back media without a record are looked for at first.

    A week is hundreds of listings: nothing for a folder, but seconds of Azurite's time in each test.
    """
    return FIRST_RUN if environment["LOCAL_STORAGE_PATH"] else timedelta(hours=2)
